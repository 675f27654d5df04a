"""Chat with the model of this process."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from config_core.connection import Connection
from query.providers.local_engine import LocalChatEngine
from query.providers.local_errors import LocalContextError, LocalEngineError, LocalRequestError
from query.providers.model import ChatCall, ChatResult, StreamPart
from query.providers.wire_answer import StreamReader, WireError, read_answer
from query.providers.wire_request import request_body
from service_core.upstream.errors import (
    ContextTooLongError,
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.upstream.translate import broken


class LocalChat:
    """A ChatProvider over the engine, whatever model is asked for: there is one."""

    def __init__(self, engine: LocalChatEngine) -> None:
        self._engine = engine

    async def complete(self, call: ChatCall) -> ChatResult:
        """Answer in one piece."""
        failure: UpstreamError
        try:
            answer = await self._engine.complete(_body(call))
            return read_answer(answer, self._engine.model_name, "")
        except LocalEngineError as error:
            failure = _translated(call.connection, error)
        except WireError as error:
            failure = broken(call.connection, str(error))
        raise failure

    async def stream(self, call: ChatCall) -> AsyncGenerator[StreamPart, None]:
        """Answer piece by piece; closing the generator stops the engine."""
        reader = StreamReader(self._engine.model_name)
        begun = False
        failure: UpstreamError | None = None
        async with aclosing(self._engine.stream(_body(call))) as chunks:
            while True:
                try:
                    chunk = await anext(chunks, None)
                    parts = list(reader.read(chunk)) if chunk is not None else []
                except LocalEngineError as error:
                    failure = _translated(call.connection, error)
                except WireError as error:
                    failure = broken(call.connection, str(error))
                if failure is not None or chunk is None:
                    break
                for part in parts:
                    begun = True
                    yield part
        if reader.finished:
            yield reader.end("")
            return
        failure = failure or broken(call.connection, "ended its stream without finishing it")
        raise StreamInterruptedError(failure.provider, failure.message) if begun else failure

    async def aclose(self) -> None:
        """Free the model."""
        await self._engine.close()


def _body(call: ChatCall) -> dict[str, Any]:
    return request_body(call, max_tokens="max_tokens")


def _translated(connection: Connection, error: LocalEngineError) -> UpstreamError:
    """The engine's sentences are our own: they say what to do and quote nothing."""
    provider = connection.provider
    if isinstance(error, LocalContextError):
        return ContextTooLongError(provider, str(error))
    if isinstance(error, LocalRequestError):
        return UpstreamRejectedError(provider, str(error))
    return UpstreamFailedError(provider, str(error))
