"""A service with a call of each kind whose behaviour a test chooses, on a real server."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service_core.channel import create_channel
from service_core.interceptors import HandlerInterceptor
from service_core.server import GrpcServer

SERVICE = "cascada.test.v1.ProbeService"
KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")

Message = embedding.EmbedRequest
Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Context], AsyncIterator[Message]]
"""Yields the answers of a call; calls with one answer take the first."""


def raising(error: Callable[[], BaseException], *, after: int = 0) -> Behaviour:
    """Gives `after` answers, numbered from 0, and raises."""

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        for number in range(after):
            yield text(str(number))
        raise error()

    return behaviour


async def aborting(context: Context) -> AsyncIterator[Message]:
    for _ in ():
        yield Message()
    await context.abort(grpc.StatusCode.DATA_LOSS, "as it is")


def text(value: str) -> Message:
    return Message(texts=[value])


def add_probe(behaviour: Any, server: grpc.aio.Server) -> None:
    """Takes the place of a generated `add_<Service>Servicer_to_server`."""
    codec: dict[str, Any] = {
        "request_deserializer": Message.FromString,
        "response_serializer": Message.SerializeToString,
    }

    async def one(_: Any, context: Context) -> Message:
        async for answer in behaviour(context):
            return answer  # type: ignore[no-any-return]
        return Message()

    async def many(_: Any, context: Context) -> AsyncIterator[Message]:
        async with aclosing(behaviour(context)) as answers:
            async for answer in answers:
                yield answer

    async def one_of_stream(requests: AsyncIterator[Message], context: Context) -> Message:
        async for _ in requests:
            pass
        return await one(None, context)

    async def many_of_stream(
        requests: AsyncIterator[Message], context: Context
    ) -> AsyncIterator[Message]:
        async for _ in requests:
            pass
        async for answer in behaviour(context):
            yield answer

    handlers: dict[str, Any] = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(one, **codec),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(many, **codec),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(one_of_stream, **codec),
        "StreamStream": grpc.stream_stream_rpc_method_handler(many_of_stream, **codec),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])


@asynccontextmanager
async def serving(
    behaviour: Behaviour, interceptors: Sequence[HandlerInterceptor] = ()
) -> AsyncIterator[grpc.aio.Channel]:
    """Serves a behaviour on a free port and gives a channel to it."""
    server = GrpcServer("127.0.0.1", 0, interceptors=interceptors)
    server.add(SERVICE, add_probe, behaviour)
    await server.start()
    try:
        async with create_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel
    finally:
        await server.stop(0)


async def call(
    channel: grpc.aio.Channel,
    kind: str,
    request: Message | None = None,
    received: list[Message] | None = None,
    *,
    timeout: float = 20,  # noqa: ASYNC109 # it is gRPC's
) -> list[Message]:
    """Calls and gives all answers; they are in `received` too, also when the call fails."""
    answers = [] if received is None else received
    sent = request or text("question")
    codec: dict[str, Any] = {
        "request_serializer": Message.SerializeToString,
        "response_deserializer": Message.FromString,
    }
    path = f"/{SERVICE}/{kind}"
    if kind == "UnaryUnary":
        answers.append(await channel.unary_unary(path, **codec)(sent, timeout=timeout))
    elif kind == "StreamUnary":
        answers.append(await channel.stream_unary(path, **codec)(iter([sent]), timeout=timeout))
    else:
        reading: Any = (
            channel.unary_stream(path, **codec)(sent, timeout=timeout)
            if kind == "UnaryStream"
            else channel.stream_stream(path, **codec)(iter([sent]), timeout=timeout)
        )
        try:
            async for answer in reading:
                answers.append(answer)  # those before a failure count
        finally:
            reading.cancel()  # gRPC does not do it for whoever leaves in the middle
    return answers


async def failure(
    channel: grpc.aio.Channel,
    kind: str = "UnaryUnary",
    request: Message | None = None,
    *,
    timeout: float = 20,  # noqa: ASYNC109 # it is gRPC's
) -> grpc.aio.AioRpcError:
    """Calls and gives the error that has to come."""
    try:
        await call(channel, kind, request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call succeeded")


async def send_bytes(channel: grpc.aio.Channel, kind: str, data: bytes) -> None:
    """Calls with what may be no message at all; an error passes."""
    kinds = dict(
        zip(KINDS, ("unary_unary", "unary_stream", "stream_unary", "stream_stream"), strict=True)
    )
    sent: Any = data if kind.startswith("Unary") else iter([data])
    made = getattr(channel, kinds[kind])(f"/{SERVICE}/{kind}")(sent, timeout=20)
    await (made if kind.endswith("Unary") else anext(aiter(made)))


def health(channel: grpc.aio.Channel) -> Any:
    """The health stub, which is typed nowhere."""
    return health_pb2_grpc.HealthStub(channel)


async def refused(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """Calls until the server takes no more calls, and gives the code of the first one refused."""
    while True:
        try:
            await health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()


REFUSED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""The second is what gRPC does to a call that arrives just while it stops to listen."""
