"""What holds for every test: none reaches a host other than this one.

Python's own sockets, and with them asyncio and the provider SDKs, connect to loopback addresses
and unix sockets only. A test marked `live` is free to leave. gRPC's C core and processes that a
test starts open their sockets by themselves and are not held back.
"""

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_Address = tuple[str, int] | tuple[str, int, int, int] | str | bytes


class NetworkRefusedError(Exception):
    """A test tried to leave this host. Not an OSError, lest it pass for a host that is down."""


@dataclass(slots=True)
class _Network:
    """Whether the test that runs may leave this host."""

    allowed: bool = False


def _stays_here(family: int, address: object) -> bool:
    if family == socket.AF_UNIX:
        return True
    if not isinstance(address, tuple):
        return False
    host = str(address[0])
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _network() -> Iterator[_Network]:
    network = _Network()
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(own: socket.socket, address: object) -> None:
        if not network.allowed and not _stays_here(own.family, address):
            raise NetworkRefusedError(
                f"a test tried to connect to {address!r}: the network is off in tests; use a "
                "server on 127.0.0.1, or mark the test `live`"
            )

    def guarded_connect(self: socket.socket, address: _Address) -> None:
        check(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: _Address) -> int:
        check(self, address)
        return connect_ex(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        yield network


@pytest.fixture(autouse=True)
def _leave_only_if_live(request: pytest.FixtureRequest, _network: _Network) -> Iterator[None]:
    _network.allowed = request.node.get_closest_marker("live") is not None
    yield
    _network.allowed = False
