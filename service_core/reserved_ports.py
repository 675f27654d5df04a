"""Ports that several processes listen on together, held by the one that starts them."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from service_core.server import BindError


@contextmanager
def reserved(host: str, ports: Sequence[int]) -> Iterator[list[int]]:
    """Give the ports, with free ones in place of 0; they are held for the block.

    A socket that is bound and does not listen gets no connections. While it stands nobody else can
    take the port but processes of the same user that mean to share it.

    Raises:
        BindError: Another program has one of them.
    """
    with ExitStack() as stack:
        held = [stack.enter_context(_bound(host, port)) for port in ports]
        yield [each.getsockname()[1] for each in held]


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # Without the option to share it is refused where somebody listens, who may mean to share.
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        held = socket.socket(family, kind, protocol)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(address)
        except OSError:
            held.close()
            raise
    except OSError:
        raise BindError(host, port) from None
    return held
