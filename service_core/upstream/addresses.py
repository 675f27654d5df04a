"""Which IP addresses a provider may have: a public one, a private one, or none that is called.

The lists are spelled out: Python's own flags differ between versions and call some addresses global
that are not.
"""

from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)


class Reach(StrEnum):
    """From where an address is reached."""

    PUBLIC = "public"
    PRIVATE = "private"
    """Loopback, or a network of one's own."""
    REFUSED = "refused"
    """A machine's own metadata, one link, many machines, or nothing in particular."""


_PRIVATE_4 = tuple(
    IPv4Network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    )
)
_REFUSED_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "100.100.100.200/32",  # Alibaba's metadata
        "168.63.129.16/32",  # Azure's
        "169.254.0.0/16",  # one link, and with 169.254.169.254 most clouds' metadata
        "192.0.0.0/24",  # Oracle's among them
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # many machines, and what is reserved
    )
)
_PRIVATE_6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
_PUBLIC_6 = IPv6Network("2000::/3")
_REFUSED_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # tunnels and other special uses
        "2001:db8::/32",
        "2002::/16",  # IPv4 inside IPv6
        "3fff::/20",
        "fd00:c1::a9fe:a9fe/128",  # Oracle's metadata
        "fd00:ec2::254/128",  # Amazon's
        "fd20:ce::254/128",  # Google's
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""The last four bytes are the IPv4 address that is reached."""


def reach_of(text: str) -> Reach:
    """From where an address is reached; one with a zone is that of one link. ValueError."""
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return _reach_4(address)
    if address.scope_id is not None:
        return Reach.REFUSED
    inner = _embedded(address)
    return _reach_6(address) if inner is None else _reach_4(inner)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is reached through this one."""
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped


def _reach_4(address: IPv4Address) -> Reach:
    if any(address in network for network in _REFUSED_4):
        return Reach.REFUSED
    if any(address in network for network in _PRIVATE_4):
        return Reach.PRIVATE
    return Reach.PUBLIC


def _reach_6(address: IPv6Address) -> Reach:
    if any(address in network for network in _REFUSED_6):
        return Reach.REFUSED
    if any(address in network for network in _PRIVATE_6):
        return Reach.PRIVATE
    return Reach.PUBLIC if address in _PUBLIC_6 else Reach.REFUSED
