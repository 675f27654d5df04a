import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest

from service_core.channel import (
    create_channel,
    is_balanced,
    is_local_peer,
    is_secure_or_local,
)
from service_core.server import GrpcServer
from tests.unit.service_core.probe import (
    SERVICE,
    Behaviour,
    Context,
    Message,
    add_probe,
    call,
    serving,
    text,
)


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50052",
        "LOCALHOST:50052",
        "localhost",
        "127.0.0.1:50052",
        "127.9.9.9:50052",
        "[::1]:50052",
        "[::ffff:127.0.0.1]:50052",
        "dns:///localhost:50052",
        "dns:localhost:50052",
        "ipv4:127.0.0.1:50052",
        "ipv4:127.0.0.1:50052,127.0.0.2:50052",
        "ipv6:[::1]:50052",
        "unix:/run/query.sock",
        "unix:///run/query.sock",
        "unix-abstract:query",
    ],
)
def test_a_key_may_travel_within_this_machine(target: str) -> None:
    assert is_secure_or_local(target, tls=False)


@pytest.mark.parametrize(
    "target",
    [
        "query:50052",
        "10.0.0.7:50052",
        "0.0.0.0:50052",
        "[::]:50052",
        "[fe80::1%eth0]:50052",
        "[::ffff:10.0.0.7]:50052",
        "localhost.example.com:50052",
        "127.0.0.1.example.com:50052",
        "dns:///query:50052",
        "dns://10.0.0.1/localhost:50052",
        "ipv4:127.0.0.1:50052,10.0.0.7:50052",
        "ipv4:10.0.0.7:50052",
        "ipv6:[2001:db8::1]:50052",
        "xds:///localhost",
        "localhost@example.com:50052",
        "localhost:50052/../example.com",
        "example.com#localhost:1",
        "",
    ],
)
def test_a_key_does_not_leave_in_plain_text(target: str) -> None:
    assert not is_secure_or_local(target, tls=False)


@pytest.mark.parametrize(("tls", "allow_insecure"), [(True, False), (False, True)])
def test_a_key_may_leave_over_tls_or_by_the_operators_word(
    *, tls: bool, allow_insecure: bool
) -> None:
    assert is_secure_or_local("query:50052", tls=tls, allow_insecure=allow_insecure)


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:[::1]:5000", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:5000", True),
        ("unix:", True),
        ("unix:/run/query.sock", True),
        ("unix-abstract:x", True),
        ("ipv4:10.0.0.7:5000", False),
        ("ipv6:%5B::ffff:10.0.0.7%5D:5000", False),
        ("ipv6:%5B2001:db8::1%5D:5000", False),
        ("localhost:5000", False),
        ("", False),
    ],
)
def test_a_peer_is_local_on_loopback_and_unix_sockets(peer: str, *, local: bool) -> None:
    assert is_local_peer(peer) is local


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_peer_of_a_real_connection_is_recognised(host: str) -> None:
    peers: list[str] = []

    async def behaviour(context: Context) -> AsyncIterator[Message]:
        peers.append(context.peer())
        yield Message()

    server = GrpcServer(host, 0)
    server.add(SERVICE, add_probe, behaviour)
    await server.start()
    address = f"[{host}]" if ":" in host else host
    async with create_channel(f"{address}:{server.port}") as channel:
        await call(channel, "UnaryUnary")
    await server.stop(0)
    assert [is_local_peer(peer) for peer in peers] == [True]


async def test_a_message_above_the_default_limit_of_grpc_passes_both_ways() -> None:
    large = text("x" * (5 * 1024 * 1024))

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        yield large

    async with serving(behaviour) as channel:
        assert await call(channel, "UnaryUnary", large) == [large]


async def test_a_proxy_of_the_environment_does_not_see_plain_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        yield text("direct")

    async with serving(behaviour) as channel:
        assert await call(channel, "UnaryUnary") == [text("direct")]


@pytest.mark.parametrize(
    ("target", "balanced"),
    [
        ("dns:///query:50052", True),
        ("ipv4:10.0.0.7:50052,10.0.0.8:50052", True),
        ("ipv4:10.0.0.7:50052%2C10.0.0.8:50052", True),
        ("ipv6:[2001:db8::1]:50052,[2001:db8::2]:50052", True),
        ("ipv4:10.0.0.7:50052", False),
        ("query:50052", False),
        ("unix:/run/a,b.sock", False),
    ],
)
def test_several_addresses_are_balanced(target: str, *, balanced: bool) -> None:
    assert is_balanced(target) is balanced


async def test_a_list_of_addresses_spreads_calls_over_those_that_serve() -> None:
    called: list[int] = []

    def noting(number: int) -> Behaviour:
        async def behaviour(_: Context) -> AsyncIterator[Message]:
            called.append(number)
            yield text("answer")

        return behaviour

    servers = [GrpcServer("127.0.0.1", 0) for _ in range(3)]
    for number, server in enumerate(servers):
        server.add(SERVICE, add_probe, noting(number))
        await server.start()
    for server in servers[:2]:
        await server.set_serving()
    addresses = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    async with asyncio.timeout(20), create_channel(f"ipv4:{addresses}") as channel:
        while set(called) != {0, 1}:
            await call(channel, "UnaryUnary")
        await servers[0].set_serving(serving=False)
        await servers[2].set_serving()
        while called[-2:] not in ([1, 2], [2, 1]):
            await call(channel, "UnaryUnary")
        called.clear()
        for _ in range(10):
            await call(channel, "UnaryUnary")
        assert sorted(called) == [1] * 5 + [2] * 5
    for server in servers:
        await server.stop(0)


async def test_a_balanced_channel_calls_no_server_that_is_not_serving() -> None:
    async def behaviour(_: Context) -> AsyncIterator[Message]:
        yield text("answer")

    server = GrpcServer("127.0.0.1", 0)
    server.add(SERVICE, add_probe, behaviour)
    await server.start()
    async with create_channel(f"dns:///127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "UnaryUnary")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await server.set_serving()
        answers: list[Message] = []
        while not answers:
            with suppress(grpc.aio.AioRpcError):
                await call(channel, "UnaryUnary", received=answers)
    await server.stop(0)
