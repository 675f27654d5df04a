import socket

import pytest

from service_core.channel import create_channel
from service_core.reserved_ports import reserved
from service_core.server import BindError, GrpcServer
from tests.unit.service_core.probe import SERVICE, add_probe, call, raising


def test_0_gives_free_ports() -> None:
    with reserved("127.0.0.1", [0, 0]) as ports:
        assert len({*ports, 0}) == 3


def test_a_port_that_somebody_listens_on_is_an_error_even_if_they_mean_to_share_it() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BindError, match=f"Port {port}"), reserved("127.0.0.1", [port]):
            pass


def test_a_port_that_another_holds_is_an_error() -> None:
    with (
        reserved("127.0.0.1", [0]) as (port,),
        pytest.raises(BindError, match=f"Port {port}"),
        reserved("127.0.0.1", [port]),
    ):
        pass


async def test_servers_share_a_held_port_and_get_all_its_connections() -> None:
    with reserved("127.0.0.1", [0]) as (port,):
        servers = [GrpcServer("127.0.0.1", port, shared=True) for _ in range(2)]
        for server in servers:
            server.add(SERVICE, add_probe, raising(ValueError, after=1))
            await server.start()
        try:
            for _ in range(8):
                async with create_channel(f"127.0.0.1:{port}") as channel:
                    assert await call(channel, "UnaryUnary")
        finally:
            for server in servers:
                await server.stop(0)
