"""What is raised when the provider misbehaves: never a truncated success, never a key."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

import pytest

from config_core.model_configuration import ModelProvider
from query.providers.model import ChatCall, Finished, FinishReason, StreamPart, TextDelta
from query.providers.wire_chat import WireChat
from service_core.upstream.errors import (
    ContentRefusedError,
    RateLimitedError,
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
)
from tests.upstream.behaviours import (
    CHAT_FAULTS,
    SAME_IDS,
    Answer,
    Broken,
    OldHttp,
    Raw,
    Reset,
    Silence,
    Status,
    Unended,
    WrongType,
)
from tests.upstream.exchange import EVENTS, Behaviour
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

CANARY = "gsk_canary-0123456789-abcdefghijk"


async def _drained(chat: WireChat, call: ChatCall) -> list[StreamPart]:
    return [part async for part in chat.stream(call)]


async def _failure(
    chat: WireChat, call: ChatCall, *, stream: bool
) -> tuple[UpstreamError, list[StreamPart]]:
    parts: list[StreamPart] = []
    with pytest.raises(UpstreamError) as caught:  # noqa: PT012 # the parts before it count
        if stream:
            async for part in chat.stream(call):
                parts.append(part)  # noqa: PERF401 # they must survive the error
        else:
            await chat.complete(call)
    return caught.value, parts


def _of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(
    "behaviour",
    [
        Reset(),
        Status(500),
        Broken("reset"),
        Broken("end"),
        Broken("malformed"),
        Broken("error"),
        WrongType(),
        OldHttp(cut=True),
    ],
    ids=str,
)
async def test_a_broken_answer_is_a_failure_and_a_broken_stream_an_interruption(
    chat: WireChat,
    call: ChatCall,
    upstream: UpstreamServer,
    behaviour: Behaviour,
    stream: bool,  # noqa: FBT001 # pytest passes by name
) -> None:
    upstream.default = behaviour
    error, parts = await _failure(chat, call, stream=stream)
    begun = any(isinstance(part, TextDelta) for part in parts)
    assert type(error) is (StreamInterruptedError if begun else UpstreamFailedError)
    assert not any(isinstance(part, Finished) for part in parts)
    assert error.retryable


async def test_the_faults_that_cut_a_stream_do_so_after_its_first_piece(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    upstream.default = Broken("end")
    error, parts = await _failure(chat, call, stream=True)
    assert parts == [TextDelta("Hola, "), TextDelta("¿qué ")]
    assert isinstance(error, StreamInterruptedError)


@pytest.mark.parametrize("then", ["end", "malformed", "error", "reset", "oversized"])
async def test_a_stream_that_breaks_before_its_first_piece_has_failed(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, then: str
) -> None:
    upstream.default = Broken(then, after=1)
    error, parts = await _failure(chat, call, stream=True)
    assert parts == []
    assert type(error) is UpstreamFailedError


async def test_an_error_at_the_start_of_a_stream_keeps_its_meaning(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    upstream.default = Broken("error", 0, {"message": "Wait.", "code": "rate_limit_exceeded"})
    error, _ = await _failure(chat, call, stream=True)
    assert isinstance(error, RateLimitedError)


async def test_a_content_filter_in_the_body_of_a_200_keeps_its_meaning(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    upstream.default = Broken("error", error={"message": "Not that.", "code": "content_filter"})
    error, _ = await _failure(chat, call, stream=False)
    assert isinstance(error, ContentRefusedError)


@pytest.mark.parametrize("behaviour", [Unended(), Unended(hold=True), OldHttp(), SAME_IDS], ids=str)
async def test_a_stream_whose_finish_reason_came_is_whole(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, behaviour: Behaviour
) -> None:
    upstream.default = behaviour
    assert isinstance((await _drained(chat, call))[-1], Finished)


async def test_a_stream_whose_usage_never_comes_is_whole_soon_after_its_finish_reason(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query.providers.wire_chat._USAGE_SECONDS", 0.05)
    upstream.default = Unended(usage=False, hold=True)
    last = (await _drained(chat, call))[-1]
    assert isinstance(last, Finished)
    assert last.finish_reason is FinishReason.STOP


async def test_a_generation_that_the_provider_reports_as_failed_is_a_failure(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    upstream.default = Answer(Content(finish_reason="error"))
    error, _ = await _failure(chat, call, stream=False)
    assert type(error) is UpstreamFailedError
    error, _ = await _failure(chat, call, stream=True)
    assert type(error) is StreamInterruptedError


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'"text"', b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"\xff\xfe"],
)
async def test_a_200_without_an_answer_is_a_failure(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, body: bytes
) -> None:
    upstream.default = Raw(body)
    error, _ = await _failure(chat, call, stream=False)
    assert type(error) is UpstreamFailedError


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", b": only a comment\n\n"])
async def test_a_stream_without_a_chunk_is_a_failure(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, body: bytes
) -> None:
    upstream.default = Raw(body, content_type=EVENTS)
    error, _ = await _failure(chat, call, stream=True)
    assert type(error) is UpstreamFailedError


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
async def test_an_echoed_key_is_nowhere_in_the_error(
    chat: WireChat,
    provider: ModelProvider,
    upstream: UpstreamServer,
    call: ChatCall,
    status: int,
    stream: bool,  # noqa: FBT001 # pytest passes by name
) -> None:
    upstream.default = Status(status, "Bad key {key}; header Bearer {key}, api_key={key}.")
    own = ChatCall(upstream.connection(provider, CANARY), call.model, call.messages)
    error, _ = await _failure(chat, own, stream=stream)
    assert upstream.requests[0].key == CANARY
    assert "canary" not in _of(error)
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("behaviour", [Reset(), Broken("reset"), Raw(b"no json")], ids=str)
async def test_nothing_of_an_sdk_hangs_on_a_failure(
    chat: WireChat,
    call: ChatCall,
    upstream: UpstreamServer,
    behaviour: Behaviour,
    stream: bool,  # noqa: FBT001 # pytest passes by name
) -> None:
    upstream.default = behaviour
    error, _ = await _failure(chat, call, stream=stream)
    assert (error.__cause__, error.__context__) == (None, None)


async def test_a_refused_connection_is_a_failure(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    await upstream.__aexit__()
    for stream in (False, True):
        error, _ = await _failure(chat, call, stream=stream)
        assert type(error) is UpstreamFailedError
        assert "could not be reached" in error.message


async def _leave_unary(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    task = asyncio.create_task(chat.complete(call))
    await upstream.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _leave_waiting_stream(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    task = asyncio.create_task(_drained(chat, call))
    await upstream.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _close_stream(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    upstream.default = Broken("stall")
    async with aclosing(chat.stream(call)) as parts:
        assert await anext(parts) == TextDelta("Hola, ")


async def _time_out_in_stream(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    upstream.default = Broken("stall")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await _drained(chat, call)


@pytest.mark.parametrize(
    "leave", [_leave_unary, _leave_waiting_stream, _close_stream, _time_out_in_stream]
)
async def test_leaving_a_call_closes_the_request_upstream(
    chat: WireChat,
    call: ChatCall,
    upstream: UpstreamServer,
    leave: Callable[[WireChat, ChatCall, UpstreamServer], Awaitable[None]],
) -> None:
    upstream.default = Silence()
    await leave(chat, call, upstream)
    received = await upstream.received()
    async with asyncio.timeout(2):
        await received.over.wait()
    assert received.left


@pytest.mark.parametrize("name", [n for n in CHAT_FAULTS if "oversized" not in n])
async def test_after_any_fault_the_next_request_is_answered(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, name: str
) -> None:
    upstream.script(CHAT_FAULTS[name], CHAT_FAULTS[name])
    for answer in (chat.complete(call), _drained(chat, call)):
        with suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(0.2):
                await answer
    assert (await chat.complete(call)).finish_reason is FinishReason.STOP
