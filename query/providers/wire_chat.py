"""Chat over HTTP as OpenAI, Groq and Mistral have it in common; an adapter adds its request."""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from query.providers.model import ChatCall, ChatResult, StreamPart
from query.providers.wire_answer import StreamReader, WireError, read_answer
from service_core.upstream.clients import ClientPool, Operation
from service_core.upstream.errors import (
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
)
from service_core.upstream.exchange import JsonAnswer, Question, ask, ask_stream
from service_core.upstream.translate import broken

_USAGE_SECONDS = 0.25  # how long a finished stream is waited on for its usage
_END_SECONDS = 0.1  # and, once that has come, for its end, after which the connection is reused


class WireChat(ABC):
    """A ChatProvider over a pool that the application closes."""

    def __init__(self, clients: ClientPool) -> None:
        self._clients = clients

    @abstractmethod
    def body(self, call: ChatCall, *, stream: bool) -> dict[str, Any]:
        """The request in the provider's own JSON."""

    async def complete(self, call: ChatCall) -> ChatResult:
        """Answer in one piece."""
        answer = await ask(self._clients, self._question(call, stream=False))
        try:
            return read_answer(answer.data, call.model, answer.request_id)
        except WireError as error:
            failure = broken(call.connection, str(error), answer.request_id)
        raise failure

    async def stream(self, call: ChatCall) -> AsyncGenerator[StreamPart, None]:
        """Answer piece by piece; closing the generator closes the HTTP response."""
        reader = StreamReader(call.model)
        tail = _Tail(reader)
        request_id = ""
        begun = False
        failure: UpstreamError | None = None
        async with aclosing(ask_stream(self._clients, self._question(call, stream=True))) as chunks:
            while True:
                try:
                    chunk = await tail.next(chunks)
                    parts = list(reader.read(chunk.data)) if chunk else []
                except WireError as error:
                    failure = broken(call.connection, str(error), request_id)
                except UpstreamError as error:
                    failure = error
                if failure is not None or chunk is None:
                    break
                request_id = chunk.request_id or request_id
                for part in parts:
                    begun = True
                    yield part
        if reader.finished:
            yield reader.end(request_id)
            return
        failure = failure or broken(
            call.connection, "ended its stream without finishing it", request_id
        )
        raise _interrupted(failure) if begun else failure

    async def aclose(self) -> None:  # noqa: B027 # complete as it is
        """Nothing to release: the pool belongs to the application."""

    def _question(self, call: ChatCall, *, stream: bool) -> Question:
        body = self.body(call, stream=stream)
        return Question(call.connection, call.model, Operation.CHAT, body)


class _Tail:
    """The limit of what follows a finish reason: the stream is whole, however much still comes."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._seconds = self._until = math.inf

    async def next(self, chunks: AsyncGenerator[JsonAnswer, None]) -> JsonAnswer | None:
        """Give the next chunk, or `None` at the end: the body's, or that of our patience."""
        if not self._reader.finished:
            return await anext(chunks, None)
        seconds = _END_SECONDS if self._reader.complete else _USAGE_SECONDS
        if seconds < self._seconds:
            self._seconds = seconds
            self._until = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(self._until):
                return await anext(chunks, None)
        except TimeoutError:
            return None


def _interrupted(failure: UpstreamError) -> UpstreamError:
    """The same failure, once a part has been given away."""
    if not isinstance(failure, UpstreamFailedError):
        message = f"The stream broke off: {failure.message}"
    else:
        message = failure.message
    return StreamInterruptedError(failure.provider, message, request_id=failure.request_id)
