"""What is raised when the provider misbehaves: never a truncated success, never a key."""

import traceback

import pytest

from config_core.model_configuration import ModelProvider
from query.providers.model import ChatCall, Finished, FinishReason, StreamPart, TextDelta
from query.providers.wire_chat import WireChat
from service_core.upstream.errors import (
    ContentRefusedError,
    ContextTooLongError,
    CredentialRejectedError,
    ModelNotFoundError,
    RateLimitedError,
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from tests.upstream.behaviours import (
    Answer,
    Broken,
    Raw,
    Redirect,
    Reset,
    Status,
)
from tests.upstream.exchange import EVENTS, Behaviour
from tests.upstream.faults import SAME_IDS
from tests.upstream.formats import Content
from tests.upstream.misframed import OldHttp, Unended, WrongType
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
    *,
    behaviour: Behaviour,
    stream: bool,
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
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Status(400, "Odd."), UpstreamRejectedError),
        (Status(400, "Long.", "context_length_exceeded"), ContextTooLongError),
        (Status(400, "Bad.", "content_filter"), ContentRefusedError),
        (Status(401), CredentialRejectedError),
        (Status(402), CredentialRejectedError),
        (Status(403), CredentialRejectedError),
        (Status(404, "Gone."), ModelNotFoundError),
        (Status(408), UpstreamFailedError),
        (Status(409), UpstreamFailedError),
        (Status(422, "Odd."), UpstreamRejectedError),
        (Status(429, headers={"Retry-After": "2"}), RateLimitedError),
        (Status(429, code="insufficient_quota"), RateLimitedError),
        (Status(500), UpstreamFailedError),
        (Status(503, headers={"Retry-After": "2"}), UpstreamFailedError),
        (Redirect(), UpstreamRejectedError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value.status),
)
async def test_a_refusal_keeps_its_status_its_wait_and_its_request_id(
    chat: WireChat,
    call: ChatCall,
    upstream: UpstreamServer,
    *,
    behaviour: Status | Redirect,
    kind: type[UpstreamError],
    stream: bool,
) -> None:
    upstream.default = behaviour
    error, _ = await _failure(chat, call, stream=stream)
    assert type(error) is kind
    assert (error.status, error.request_id) == (behaviour.status, "req-42")
    if isinstance(behaviour, Status):
        assert error.retry_after == (2.0 if behaviour.headers else None)
        assert behaviour.message in error.message or behaviour.message == Status(400).message


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
async def test_an_echoed_key_is_nowhere_in_the_error(
    chat: WireChat,
    provider: ModelProvider,
    upstream: UpstreamServer,
    call: ChatCall,
    *,
    status: int,
    stream: bool,
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
    *,
    behaviour: Behaviour,
    stream: bool,
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
