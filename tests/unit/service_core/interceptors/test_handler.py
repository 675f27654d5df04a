"""The entrance: layers around each handler, and requests that are read when they are asked for."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from config_core.errors import CollectionNotFoundError, Reason
from service_core.channel import create_channel
from service_core.interceptors import Call, ErrorInterceptor, HandlerInterceptor, Proceed
from service_core.server import GrpcServer
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Context,
    Message,
    call,
    failure,
    raising,
    send_bytes,
    serving,
    text,
)
from tests.unit.service_core.running import all_of, caught

CODEC: dict[str, Any] = {
    "request_deserializer": Message.FromString,
    "response_serializer": Message.SerializeToString,
}


class Layer(HandlerInterceptor):
    """Notes what happens at its place; may ask for the request."""

    def __init__(self, name: str, events: list[str], *, reads: bool = False) -> None:
        self._name = name
        self._events = events
        self._reads = reads

    async def around(self, call: Call, proceed: Proceed) -> Any:
        known = await call.receive() if self._reads else call.request
        self._events.append(f"{self._name} {known.texts[0] if known is not None else None}")
        try:
            return await proceed()
        except CollectionNotFoundError:
            self._events.append(f"{self._name} failed")
            raise
        finally:
            known = call.request
            self._events.append(f"{self._name} ends {known.texts[0] if known else None}")


async def answering(_: Context) -> AsyncIterator[Message]:
    yield text("answer")


@pytest.mark.parametrize("kind", KINDS)
async def test_layers_stand_around_the_handler_from_the_outside_to_the_inside(kind: str) -> None:
    events: list[str] = []
    async with serving(answering, [Layer("outer", events), Layer("inner", events)]) as channel:
        await call(channel, kind)
    assert events == ["outer None", "inner None", "inner ends question", "outer ends question"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_passes_through_every_layer(kind: str) -> None:
    events: list[str] = []
    layers = [ErrorInterceptor(), Layer("outer", events), Layer("inner", events)]
    async with serving(raising(lambda: CollectionNotFoundError("x")), layers) as channel:
        await failure(channel, kind)
    assert [event for event in events if "failed" in event] == ["inner failed", "outer failed"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_layer_that_asks_has_the_request_and_so_have_those_behind_it(kind: str) -> None:
    events: list[str] = []
    layers = [Layer("before", events), Layer("reads", events, reads=True), Layer("after", events)]
    async with serving(answering, layers) as channel:
        await call(channel, kind)
    assert events[:3] == ["before None", "reads question", "after question"]


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_stream_reaches_its_handler_whole(*, reads: bool, count: int) -> None:
    async def handler(requests: AsyncIterator[Message], _: Context) -> Message:
        return Message(texts=[request.texts[0] async for request in requests])

    def add(_: object, server: grpc.aio.Server) -> None:
        handlers: dict[str, Any] = {"Send": grpc.stream_unary_rpc_method_handler(handler, **CODEC)}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])

    class Reader(HandlerInterceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            if reads:
                await call.receive()
                await call.receive()
            return await proceed()

    server = GrpcServer("127.0.0.1", 0, interceptors=[Reader()])
    server.add(SERVICE, add, None)
    await server.start()
    try:
        async with create_channel(f"127.0.0.1:{server.port}") as channel:
            send = channel.stream_unary(
                f"/{SERVICE}/Send",
                request_serializer=Message.SerializeToString,
                response_deserializer=Message.FromString,
            )
            sent = [str(number) for number in range(count)]
            answer = await send(iter([text(one) for one in sent]), timeout=20)
    finally:
        await server.stop(0)
    assert list(answer.texts) == sent


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_message_is_an_invalid_argument_and_no_fault(kind: str) -> None:
    garbage = b"\xff canary"
    async with serving(answering, [ErrorInterceptor()]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await send_bytes(channel, kind, garbage)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught(raised.value).code_reason is Reason.INVALID_ARGUMENT
    assert "canary" not in all_of(raised.value)
