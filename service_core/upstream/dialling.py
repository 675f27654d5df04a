"""The guard over dialling: a provider's name is resolved once, and only what was checked is called.

    address             http                      https
    public              with CASCADA_ALLOW_…      yes
    private, loopback   if the connection may     if the connection may
    any other           no                        no

One forbidden address among those of a name refuses them all. Redirects are off in every client, and
through a proxy of the operator's only the URL can be checked.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import structlog

from service_core.upstream.addresses import Reach, reach_of

_log = structlog.stdlib.get_logger(__name__)

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name; OSError where it has none."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
# What the C library takes for a number, and so for an address in a form of its own.
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)


class DialRefusedError(Exception):
    """An address that this connection must not have. What it is stands in the log alone."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as this machine knows them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class DialGuard:
    """What may be dialled for one base URL."""

    base_url: str
    private: bool
    """Whether the operator allows a private or loopback address."""
    allow_insecure: bool = False
    """Whether it may be a public one without encryption."""
    lookup: Lookup = look_up

    def check_url(self) -> None:
        """Raise DialRefusedError where the URL alone says that it must not be called."""
        parts = urlsplit(self.base_url)
        host = (parts.hostname or "").removesuffix(".")
        if parts.scheme not in ("http", "https") or "@" in parts.netloc:
            raise self._refused(host, "", "not an http or https address")
        if ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]):
            self._check(host, host)
        elif not _NAME.fullmatch(host):
            # Clients differ in what they make of it; a name in another script has a plain form.
            raise self._refused(host, "", "not a name in plain form")

    def check_proxied(self) -> None:
        """Raise DialRefusedError for what a proxy would be asked for, unresolved as it is."""
        self.check_url()
        if not self._encrypted and not self.private and not self.allow_insecure:
            raise self._refused(self.base_url, "", "unencrypted")

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses to connect to, each checked; DialRefusedError, OSError for none."""
        self.check_url()
        found = [host] if _is_address(host) else await self.lookup(host, port)
        if not found:
            raise OSError("the name has no address")
        for address in found:
            self._check(host, address)
        return found

    @property
    def _encrypted(self) -> bool:
        return urlsplit(self.base_url).scheme == "https"

    def _check(self, host: str, address: str) -> None:
        try:
            reach = reach_of(address)
        except ValueError:
            raise self._refused(host, address, "an address in no usual form") from None
        if reach is Reach.REFUSED:
            raise self._refused(host, address, "link-local, metadata, multicast or reserved")
        if reach is Reach.PRIVATE and not self.private:
            raise self._refused(host, address, "private, and the endpoint is not")
        if reach is Reach.PUBLIC and not self._encrypted and not self.allow_insecure:
            raise self._refused(host, address, "public, and the connection unencrypted")

    def _refused(self, host: str, address: str, why: str) -> DialRefusedError:
        _log.warning("dial refused", host=host, address=address, why=why)
        return DialRefusedError("The address is not one that this connection may have.")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
