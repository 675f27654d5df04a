"""A channel that says who calls, and that can be renewed under calls that run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from cascada.embedding.v1 import embedding_service_pb2_grpc

from service_core import identified_channel
from service_core.channel import create_channel
from service_core.identified_channel import IdentifiedChannel
from service_core.server import GrpcServer
from tests.unit.service_core.probe import KINDS, SERVICE, Context, Message, add_probe, call, text


class Served:
    """A server that notes the metadata of its calls, and can hold them."""

    def __init__(self) -> None:
        self.server = GrpcServer("127.0.0.1", 0)
        self.authorizations: list[str | bytes | None] = []
        self.others: list[str | bytes | None] = []
        self.running = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def behaviour(self, context: Context) -> AsyncIterator[Message]:
        sent = dict(context.invocation_metadata() or ())
        self.authorizations.append(sent.get("authorization"))
        self.others.append(sent.get("x-other"))
        yield text("first")
        self.running.set()
        await self.go_on.wait()
        yield text("last")

    def open(self) -> grpc.aio.Channel:
        return create_channel(f"127.0.0.1:{self.server.port}")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    found = Served()
    found.server.add(SERVICE, add_probe, found.behaviour)
    await found.server.start()
    yield found
    await found.server.stop(0)


class Opening:
    """Opens channels and keeps them in sight."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.channels: list[grpc.aio.Channel] = []

    def __call__(self) -> grpc.aio.Channel:
        self.channels.append(self._served.open())
        return self.channels[-1]

    def closed(self) -> list[bool]:
        states = [channel.get_state() for channel in self.channels]
        return [state is grpc.ChannelConnectivity.SHUTDOWN for state in states]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_call_says_who_calls_by_the_token_in_force(kind: str, served: Served) -> None:
    tokens = ["one", "two"]
    async with IdentifiedChannel(served.open, lambda: tokens.pop(0)) as channel:
        await call(channel, kind)
        await call(channel, kind)
    assert served.authorizations == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_token_a_call_says_nothing(kind: str, served: Served) -> None:
    async with IdentifiedChannel(served.open, lambda: None) as channel:
        await call(channel, kind)
    assert served.authorizations == [None]


async def test_other_metadata_is_sent_beside_it(served: Served) -> None:
    async with IdentifiedChannel(served.open, lambda: "t") as channel:
        send = channel.unary_unary(f"/{SERVICE}/UnaryUnary")
        await send(b"", metadata=(("x-other", "kept"),), timeout=20)
    assert served.others == ["kept"]
    assert served.authorizations == ["Bearer t"]


async def test_a_generated_stub_can_be_made_of_it(served: Served) -> None:
    async with IdentifiedChannel(served.open, lambda: None) as channel:
        stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Embed(Message(), timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@asynccontextmanager
async def streaming(channel: IdentifiedChannel, served: Served) -> AsyncIterator[list[str]]:
    """A stream that is held between its two answers, and what it has given in the end."""
    given: list[str] = []
    served.go_on.clear()
    stream = channel.unary_stream(
        f"/{SERVICE}/UnaryStream",
        request_serializer=Message.SerializeToString,
        response_deserializer=Message.FromString,
    )(text("question"), timeout=20)
    given.append((await stream.read()).texts[0])
    await served.running.wait()
    yield given
    served.go_on.set()
    given.append((await stream.read()).texts[0])


async def test_a_call_that_runs_ends_where_it_began_when_the_channel_is_renewed(
    served: Served,
) -> None:
    opening = Opening(served)
    async with IdentifiedChannel(opening, lambda: None) as channel:
        async with streaming(channel, served) as given:
            await channel.renew()
            assert opening.closed() == [False, False]
            assert channel.in_force is opening.channels[1]
        assert given == ["first", "last"]
        async with asyncio.timeout(20):
            while opening.closed() != [True, False]:  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)
        await call(channel, "UnaryUnary")


async def test_a_method_that_was_made_before_calls_on_the_new_channel(served: Served) -> None:
    opening = Opening(served)
    async with IdentifiedChannel(opening, lambda: None) as channel:
        send = channel.unary_unary(f"/{SERVICE}/UnaryUnary")
        await send(b"", timeout=20)
        await channel.renew()
        await opening.channels[0].close()
        await send(b"", timeout=20)


async def test_calls_go_on_while_the_channel_is_renewed_again_and_again(served: Served) -> None:
    channel = IdentifiedChannel(served.open, lambda: None)
    async with channel:
        ended = asyncio.Event()

        async def calling() -> int:
            count = 0
            while not ended.is_set():
                await call(channel, "UnaryStream")
                count += 1
            return count

        callers = [asyncio.create_task(calling()) for _ in range(8)]
        for _ in range(20):
            await call(channel, "UnaryUnary")
            await channel.renew()
        ended.set()
        counts = await asyncio.gather(*callers)
    assert min(counts) > 0
    assert len(served.authorizations) == sum(counts) + 20


async def test_a_new_channel_that_does_not_connect_takes_over_in_the_end(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identified_channel, "OPENING_SECONDS", 0.05)
    channels = [served.open(), create_channel("127.0.0.1:1")]
    async with IdentifiedChannel(lambda: channels.pop(0), lambda: None) as channel:
        await call(channel, "UnaryUnary")
        await channel.renew()
        assert not channels
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(channel, "UnaryUnary")
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_channel_that_was_not_connected_is_replaced_at_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identified_channel, "OPENING_SECONDS", 3600.0)
    channels = [create_channel("127.0.0.1:1"), create_channel("127.0.0.1:1"), served.open()]
    async with IdentifiedChannel(lambda: channels.pop(0), lambda: None) as channel:
        await asyncio.wait_for(channel.renew(), 20)
        await asyncio.wait_for(channel.renew(), 20)
        await call(channel, "UnaryUnary")


async def test_closing_closes_what_was_replaced_too(served: Served) -> None:
    opening = Opening(served)
    channel = IdentifiedChannel(opening, lambda: None)
    stream = channel.unary_stream(f"/{SERVICE}/UnaryStream")(b"", timeout=20)
    served.go_on.clear()
    await stream.read()
    await channel.renew()
    await channel.close()
    assert opening.closed() == [True, True]
    assert channel.is_closed
    assert stream.cancelled()
    served.go_on.set()


async def test_a_renewal_that_ends_after_the_close_leaves_nothing_open(served: Served) -> None:
    opening = Opening(served)
    channel = IdentifiedChannel(opening, lambda: None)
    await call(channel, "UnaryUnary")
    renewal = asyncio.create_task(channel.renew())
    await asyncio.sleep(0)
    await channel.close()
    await renewal
    assert opening.closed() == [True, True]
