"""The adapter over the local engine: its chunks become parts, its errors ours."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from config_core.connection import Connection
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from query.providers.local import LocalChat
from query.providers.local_errors import (
    LocalContextError,
    LocalEngineError,
    LocalGenerationError,
    LocalModelUnavailableError,
    LocalRequestError,
)
from query.providers.model import (
    ChatCall,
    ChatOptions,
    Finished,
    FinishReason,
    Message,
    Role,
    StreamPart,
    TextDelta,
)
from service_core.upstream.errors import (
    ContextTooLongError,
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.usage import Usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 2}


def _chunk(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"model": "tiny", "choices": [{"delta": {"content": text}, "finish_reason": reason}]}


class _Engine:
    """Plays back chunks, and then raises if it is told to."""

    model_name = "tiny"

    def __init__(self, *chunks: dict[str, Any], error: LocalEngineError | None = None) -> None:
        self.chunks = chunks
        self.error = error
        self.body: Mapping[str, Any] = {}
        self.stopped = self.closed = False

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.body = body
        try:
            for chunk in self.chunks:
                yield chunk
            if self.error is not None:
                raise self.error
        finally:
            self.stopped = True

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.body = body
        if self.error is not None:
            raise self.error
        message = {"content": "Lima."}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE}

    async def close(self) -> None:
        self.closed = True


CALL = ChatCall(
    Connection(ModelProvider.LOCAL, "", "", private=False, source=Source.DEFAULT, keyless=True),
    "whatever",
    (Message(Role.USER, "¿Capital?"),),
    ChatOptions(max_tokens=5, seed=1, provider={"top_k": 1}),
)


def _chat(engine: _Engine) -> LocalChat:
    return LocalChat(engine)  # type: ignore[arg-type]  # it plays the engine


async def test_a_whole_answer_is_read() -> None:
    engine = _Engine()
    result = await _chat(engine).complete(CALL)
    assert (result.text, result.model, result.usage) == ("Lima.", "tiny", Usage(7, 2))
    assert engine.body["max_tokens"] == 5
    assert engine.body["top_k"] == 1


async def test_a_stream_is_read_to_its_usage() -> None:
    end = {"model": "tiny", "choices": [], "usage": USAGE}
    engine = _Engine(_chunk("Li"), _chunk("ma."), _chunk("", "stop"), end)
    assert [part async for part in _chat(engine).stream(CALL)] == [
        TextDelta("Li"),
        TextDelta("ma."),
        Finished(FinishReason.STOP, Usage(7, 2), "tiny"),
    ]


ERRORS = [
    (LocalContextError(9, 8), ContextTooLongError),
    (LocalRequestError("No."), UpstreamRejectedError),
    (LocalGenerationError("No."), UpstreamFailedError),
    (LocalModelUnavailableError("missing"), UpstreamFailedError),
]


@pytest.mark.parametrize(("error", "kind"), ERRORS)
async def test_its_errors_become_ours(error: LocalEngineError, kind: type[UpstreamError]) -> None:
    chat = _chat(_Engine(error=error))
    with pytest.raises(kind) as caught:
        await chat.complete(CALL)
    assert type(caught.value) is kind
    with pytest.raises(kind) as caught:
        [part async for part in chat.stream(CALL)]
    assert type(caught.value) is kind


@pytest.mark.parametrize("error", [None, LocalGenerationError("Closed.")])
async def test_a_stream_that_breaks_off_is_interrupted(error: LocalEngineError | None) -> None:
    parts: list[StreamPart] = []
    with pytest.raises(StreamInterruptedError):  # noqa: PT012 # the parts before it count
        async for part in _chat(_Engine(_chunk("Li"), error=error)).stream(CALL):
            parts.append(part)  # noqa: PERF401 # they must survive the error
    assert parts == [TextDelta("Li")]


async def test_closing_a_stream_stops_the_engine() -> None:
    engine = _Engine(_chunk("Li"), _chunk("ma."))
    stream = _chat(engine).stream(CALL)
    await anext(stream)
    await stream.aclose()
    assert engine.stopped


async def test_closing_the_adapter_frees_the_model() -> None:
    engine = _Engine()
    await _chat(engine).aclose()
    assert engine.closed
