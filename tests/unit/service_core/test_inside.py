"""A call inside the process ends as the same call over gRPC does; each is made both ways."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import grpc
import pytest

from config_core.errors import InvalidArgumentError, Reason, Violation
from service_core.channel import create_channel
from service_core.inside import UNREAD
from service_core.interceptors import ErrorInterceptor
from service_core.server import GrpcServer
from service_core.status import from_status
from tests.unit.service_core.probe import (
    SERVICE,
    Behaviour,
    Context,
    Message,
    aborting,
    add_probe,
    call,
    failure,
    raising,
    text,
)

TOKEN = "token-of-this-process"
SECONDS = 20.0
WRONG = [Violation("field", "must be another", Reason.INVALID_ARGUMENT)]

Open = Callable[[Behaviour], Any]
variable: ContextVar[str] = ContextVar("variable", default="unset")


@pytest.fixture(params=["gRPC", "inside"])
def way(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def opened(way: str) -> Open:
    """Opens a channel to a server of a behaviour, one way or the other."""

    @asynccontextmanager
    async def open_channel(behaviour: Behaviour) -> AsyncIterator[grpc.aio.Channel]:
        server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
        server.add(SERVICE, add_probe, behaviour)
        await server.start()
        try:
            async with (
                server.channel(TOKEN)
                if way == "inside"
                else create_channel(f"127.0.0.1:{server.port}")
            ) as channel:
                yield channel
        finally:
            await server.stop(0)

    return open_channel


@pytest.fixture(params=["UnaryUnary", "UnaryStream"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def method(channel: grpc.aio.Channel, kind: str) -> Any:
    make = channel.unary_unary if kind == "UnaryUnary" else channel.unary_stream
    return make(
        f"/{SERVICE}/{kind}",
        request_serializer=Message.SerializeToString,
        response_deserializer=Message.FromString,
    )


async def ended(made: Any) -> list[Message]:
    """All answers of a call that was made."""
    if hasattr(made, "__await__"):
        return [await made]
    return [answer async for answer in made]


class Waiting:
    """Never answers, and knows whether it was ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, _: Context) -> AsyncIterator[Message]:
        try:
            self.entered.set()
            await asyncio.Event().wait()
            yield Message()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def test_what_is_answered_arrives(opened: Open, kind: str) -> None:
    async def two(_: Context) -> AsyncIterator[Message]:
        yield text("one")
        yield text("two")

    async with opened(two) as channel:
        texts = [answer.texts[0] for answer in await call(channel, kind)]
    assert texts == (["one"] if kind == "UnaryUnary" else ["one", "two"])


async def test_an_error_arrives_with_everything_it_has(opened: Open, kind: str) -> None:
    async with opened(raising(lambda: InvalidArgumentError(WRONG))) as channel:
        error = await failure(channel, kind)
    found = from_status(error, "probe")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == found.message
    assert [(each.field, each.description) for each in found.violations] == [
        ("field", "must be another")
    ]


async def test_a_stream_that_breaks_gives_what_came_before(opened: Open) -> None:
    received: list[Message] = []
    broken = raising(lambda: InvalidArgumentError(WRONG), after=3)
    async with opened(broken) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "UnaryStream", received=received)
    assert [message.texts[0] for message in received] == ["0", "1", "2"]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_abort_arrives_as_it_is(opened: Open, kind: str) -> None:
    async with opened(aborting) as channel:
        error = await failure(channel, kind)
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "as it is")


async def test_a_fault_arrives_without_its_text(opened: Open, kind: str) -> None:
    async with opened(raising(lambda: RuntimeError("a secret"))) as channel:
        error = await failure(channel, kind)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "a secret" not in str(error)


async def test_a_call_ends_at_its_deadline_and_so_does_its_handler(opened: Open, kind: str) -> None:
    waiting = Waiting()
    async with opened(waiting) as channel, asyncio.timeout(SECONDS):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ended(method(channel, kind)(text("question"), timeout=0.2))
        await waiting.cancelled.wait()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_handler_knows_its_deadline_and_metadata(
    opened: Open, way: str, kind: str
) -> None:
    seen: list[Any] = []

    async def look(context: Context) -> AsyncIterator[Message]:
        seen.append(context.time_remaining())
        seen.append(dict(context.invocation_metadata() or ()))
        yield text("seen")

    async with opened(look) as channel:
        await ended(method(channel, kind)(text("q"), timeout=9, metadata=(("cascada-hop", "1"),)))
        await ended(method(channel, kind)(text("q")))
    # gRPC rounds a timeout up to three digits, and so may give a moment more.
    assert 0 < seen[0] <= (9 if way == "inside" else 9.1)
    assert seen[1]["cascada-hop"] == "1"
    assert seen[2] is None


async def test_cancelling_a_call_ends_its_handler(opened: Open, kind: str) -> None:
    waiting = Waiting()
    async with opened(waiting) as channel, asyncio.timeout(SECONDS):
        asking = asyncio.create_task(call(channel, kind))
        await waiting.entered.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await waiting.cancelled.wait()


async def test_a_stream_that_is_left_ends_its_handler(opened: Open) -> None:
    left = asyncio.Event()

    async def forever(_: Context) -> AsyncIterator[Message]:
        try:
            while True:
                yield text("more")
        finally:
            left.set()

    async with opened(forever) as channel, asyncio.timeout(SECONDS):
        stream = method(channel, "UnaryStream")(text("question"))
        async for _ in stream:
            break
        stream.cancel()
        await left.wait()


async def test_a_handler_sees_nothing_of_its_callers_variables(opened: Open, kind: str) -> None:
    async def look(_: Context) -> AsyncIterator[Message]:
        yield text(variable.get())
        variable.set("of the handler")

    async def ask(channel: grpc.aio.Channel) -> str:
        variable.set("of the caller")
        return (await call(channel, kind))[0].texts[0]

    async with opened(look) as channel:
        assert await asyncio.create_task(ask(channel)) == "unset"
        assert await asyncio.create_task(ask(channel)) == "unset"


async def test_many_calls_at_once_get_their_own_answers(opened: Open, kind: str) -> None:
    number = iter(range(100))

    async def count(_: Context) -> AsyncIterator[Message]:
        mine = next(number)
        await asyncio.sleep(0)
        yield text(str(mine))

    async with opened(count) as channel:
        answers = await asyncio.gather(*(call(channel, kind) for _ in range(50)))
    assert sorted(int(answer[0].texts[0]) for answer in answers) == list(range(50))


# What is true inside only


async def inside(behaviour: Behaviour, work: Callable[[grpc.aio.Channel], Awaitable[None]]) -> None:
    server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
    server.add(SERVICE, add_probe, behaviour)
    async with server.channel(TOKEN) as channel, asyncio.timeout(SECONDS):
        await work(channel)


async def test_whoever_writes_waits_for_a_slow_reader() -> None:
    written = 0

    async def many(_: Context) -> AsyncIterator[Message]:
        nonlocal written
        while True:
            yield text(str(written))
            written += 1

    async def work(channel: grpc.aio.Channel) -> None:
        stream = method(channel, "UnaryStream")(text("question"))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert written == UNREAD
        stream.cancel()

    await inside(many, work)


async def test_the_server_knows_the_services_of_its_process() -> None:
    seen: list[Any] = []

    async def look(context: Context) -> AsyncIterator[Message]:
        seen.append((context.peer(), dict(context.invocation_metadata() or ())))
        yield text("seen")

    async def work(channel: grpc.aio.Channel) -> None:
        await method(channel, "UnaryUnary")(text("question"))

    await inside(look, work)
    assert seen == [(f"unix:{SERVICE}", {"authorization": f"Bearer {TOKEN}"})]


async def test_a_method_that_the_server_does_not_have_is_not_found() -> None:
    async def work(channel: grpc.aio.Channel) -> None:
        with pytest.raises(KeyError):
            channel.unary_unary(f"/{SERVICE}/Nothing")

    await inside(aborting, work)


async def test_a_call_that_is_cancelled_before_it_began_is_never_begun() -> None:
    waiting = Waiting()

    async def work(channel: grpc.aio.Channel) -> None:
        stream = method(channel, "UnaryStream")(text("question"))
        stream.cancel()
        with pytest.raises(grpc.aio.AioRpcError):
            await ended(stream)
        assert not waiting.entered.is_set()

    await inside(waiting, work)


async def test_a_handler_that_takes_no_notice_of_the_end_can_not_go_on_writing() -> None:
    left = asyncio.Event()

    async def deaf(_: Context) -> AsyncIterator[Message]:
        try:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            for _number in range(UNREAD + 1):
                yield text("to nobody")
        finally:
            left.set()

    async def work(channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ended(method(channel, "UnaryStream")(text("question"), timeout=0.05))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await left.wait()

    await inside(deaf, work)
