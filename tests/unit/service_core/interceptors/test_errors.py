import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import structlog
from cascada.config.v1 import configuration_trace_pb2 as trace_pb2
from cascada.embedding.v1 import embedding_service_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from config_core.errors import CascadaError, CollectionNotFoundError, Reason, RemoteError
from service_core.channel import create_channel
from service_core.interceptors import Call, ErrorInterceptor, HandlerInterceptor, Proceed
from service_core.server import GrpcServer
from service_core.status import from_status
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Context,
    Message,
    aborting,
    call,
    failure,
    raising,
    serving,
    text,
)

CANARY = "canary-8c21"

pytestmark = pytest.mark.parametrize("kind", KINDS)


class Ended(HandlerInterceptor):
    """Tells when a handler has come to its end, which may be after the caller has the answer."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def around(self, call: Call, proceed: Proceed) -> Any:  # noqa: ARG002
        try:
            return await proceed()
        finally:
            self.event.set()


async def test_an_error_of_ours_arrives_with_code_reason_and_sentence(kind: str) -> None:
    behaviour = raising(lambda: CollectionNotFoundError("handbook"))
    async with serving(behaviour, [ErrorInterceptor()]) as channel:
        error = await failure(channel, kind)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    got = from_status(error, "query")
    assert got.code_reason is Reason.COLLECTION_NOT_FOUND
    assert got.message == CollectionNotFoundError("handbook").message


@pytest.mark.parametrize(
    "fault",
    [
        lambda: ValueError(CANARY),
        lambda: TimeoutError(CANARY),
        lambda: NotImplementedError(CANARY),
        lambda: ExceptionGroup(CANARY, [ValueError(CANARY)]),
        lambda: grpc.aio.UsageError(CANARY),
    ],
)
async def test_the_text_of_an_unexpected_exception_never_arrives(
    kind: str, fault: Callable[[], BaseException]
) -> None:
    async with serving(raising(fault), [ErrorInterceptor()]) as channel:
        error = await failure(channel, kind)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert CANARY not in f"{error!r} {error.trailing_metadata()} {error.debug_error_string()}"


async def test_an_unexpected_exception_is_in_the_log_under_the_id_that_the_caller_gets(
    kind: str,
) -> None:
    behaviour = raising(lambda: ValueError(f"{CANARY} sk-0123456789abcdefgh"))
    with structlog.testing.capture_logs() as logs:
        async with serving(behaviour, [ErrorInterceptor()]) as channel:
            got = from_status(await failure(channel, kind), "query")
    (line,) = [entry for entry in logs if entry["event"] == "request_fault"]
    assert got.metadata["error_id"] == line["error_id"]
    assert line["error_id"] in got.message
    assert CANARY in line["error"]
    assert "0123456789abcdefgh" not in line["error"]
    assert isinstance(line["exc_info"], ValueError)


async def test_an_internal_error_of_ours_gets_an_error_id(kind: str) -> None:
    behaviour = raising(lambda: RemoteError(Reason.INTERNAL, "The next service failed."))
    async with serving(behaviour, [ErrorInterceptor()]) as channel:
        got = from_status(await failure(channel, kind), "query")
    assert got.message == "The next service failed."
    assert got.metadata["error_id"]


async def test_an_abort_passes_as_it_is(kind: str) -> None:
    with structlog.testing.capture_logs() as logs:
        ended = Ended()
        async with serving(aborting, [ended, ErrorInterceptor()]) as channel:
            error = await failure(channel, kind)
            await asyncio.wait_for(ended.event.wait(), 20)
    assert not logs
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "as it is")


async def test_an_answer_passes_as_it_is(kind: str) -> None:
    async def behaviour(_: Context) -> AsyncIterator[Message]:
        yield text("one")
        yield text("two")

    async with serving(behaviour, [ErrorInterceptor()]) as channel:
        answers = await call(channel, kind)
    assert [answer.texts[0] for answer in answers] == (
        ["one", "two"] if kind.endswith("Stream") else ["one"]
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lambda: CollectionNotFoundError("handbook"), grpc.StatusCode.NOT_FOUND),
        (lambda: ValueError(CANARY), grpc.StatusCode.INTERNAL),
    ],
)
async def test_an_error_after_messages_arrives_after_them(
    kind: str, error: Callable[[], BaseException], code: grpc.StatusCode
) -> None:
    if not kind.endswith("Stream"):
        return
    received: list[Message] = []
    async with serving(raising(error, after=3), [ErrorInterceptor()]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, received=received)
    assert [message.texts[0] for message in received] == ["0", "1", "2"]
    assert caught.value.code() is code


async def test_a_cancelled_call_reaches_the_handler_and_closes_it(kind: str) -> None:
    running, closed = asyncio.Event(), asyncio.Event()

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        try:
            running.set()
            await asyncio.Event().wait()
            yield Message()
        finally:
            closed.set()

    with structlog.testing.capture_logs() as logs:
        async with serving(behaviour, [ErrorInterceptor()]) as channel:
            task = asyncio.create_task(call(channel, kind))
            await running.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(closed.wait(), 20)
    assert not logs


async def test_a_stream_that_is_cancelled_while_it_writes_is_closed_by_its_own_task(
    kind: str,
) -> None:
    if kind != "UnaryStream":
        return
    tasks: list[object] = []
    closed = asyncio.Event()

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        tasks.append(asyncio.current_task())
        try:
            while True:
                yield text("x" * 1_000_000)
        finally:
            tasks.append(asyncio.current_task())
            closed.set()

    async with serving(behaviour, [ErrorInterceptor()]) as channel:
        stream = channel.unary_stream(
            f"/{SERVICE}/{kind}",
            request_serializer=Message.SerializeToString,
            response_deserializer=Message.FromString,
        )(text("question"))
        await stream.read()
        stream.cancel()
        await asyncio.wait_for(closed.wait(), 20)
    assert tasks[0] is tasks[1]


async def test_a_trace_that_the_service_knows_is_sent(kind: str) -> None:
    def trace_of(_: CascadaError) -> trace_pb2.ConfigurationTrace:
        return trace_pb2.ConfigurationTrace(hops=[trace_pb2.HopReport(service="query")])

    behaviour = raising(lambda: CollectionNotFoundError("handbook"))
    async with serving(behaviour, [ErrorInterceptor(trace_of)]) as channel:
        status: Any = rpc_status.from_call(await failure(channel, kind))  # type: ignore[arg-type]
    sent = trace_pb2.ConfigurationTrace()
    assert any(detail.Unpack(sent) for detail in status.details)
    assert sent.hops[0].service == "query"
    assert any(detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in status.details)


async def test_a_call_that_a_servicer_leaves_out_is_unimplemented_and_not_a_fault(
    kind: str,
) -> None:
    if kind != "UnaryUnary":
        return
    server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
    server.add(
        "cascada.embedding.v1.EmbeddingService",
        embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
        # Generated code: its own methods answer for those that a subclass leaves out.
        vars(embedding_service_pb2_grpc)["EmbeddingServiceServicer"](),
    )
    await server.start()
    with structlog.testing.capture_logs() as logs:
        async with create_channel(f"127.0.0.1:{server.port}") as channel:
            stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Embed(Message(), timeout=20)
    await server.stop(0)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not logs
