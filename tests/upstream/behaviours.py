"""How the upstream server answers: well, and in every way that goes wrong in the field.

Each works for `chat`, `stream` and `embeddings` alike, unless its docstring says otherwise. Good
answers in a wrong frame are in `misframed`; `faults` lists what a client must survive.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.upstream.exchange import EVENTS, JSON, Behaviour, Exchange
from tests.upstream.formats import (
    NATIVE_DIMENSIONS,
    Content,
    chunks,
    completion,
    embeddings,
    error_body,
    event,
    vector,
)


@dataclass(frozen=True)
class Answer:
    """Answers well; `delay` seconds before the first byte of the body's content."""

    content: Content = field(default_factory=Content)
    delay: float = 0.0

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if exchange.streams:
            return await exchange.stream(self.frames(exchange))
        return exchange.json(self.data(exchange))

    def frames(self, exchange: Exchange) -> list[bytes]:
        """The events of a whole stream."""
        return chunks(exchange.received.provider, self.content, exchange.received.body)

    def data(self, exchange: Exchange) -> dict[str, Any]:
        """The JSON of a whole answer."""
        body = exchange.received.body
        if exchange.received.operation == "embeddings":
            return embeddings(body, sent_vectors(exchange))
        return completion(self.content, str(body["model"]))


def sent_vectors(exchange: Exchange) -> list[list[float]]:
    """The vectors of the texts that were sent, in the length that was asked for."""
    body = exchange.received.body
    wanted = body.get("dimensions") or body.get("output_dimension") or NATIVE_DIMENSIONS
    texts = body.get("input") or body.get("inputs")
    assert isinstance(texts, list)
    return [vector(text, wanted) for text in texts]


@dataclass(frozen=True)
class Status:
    """Refuses with a status and the provider's error body; `{key}` in it is the call's key."""

    status: int
    message: str = "Something is wrong."
    code: str = ""
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Refuse."""
        received = exchange.received
        message = self.message.replace("{key}", received.key)
        data = error_body(received.provider, self.status, message, self.code, self.kind)
        body = json.dumps(data).encode()
        return exchange.whole(body, status=self.status, headers=self.headers)


@dataclass(frozen=True)
class Raw:
    """Answers with exactly this body, whatever was asked."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        return exchange.whole(
            self.body, status=self.status, content_type=self.content_type, headers=self.headers
        )


@dataclass(frozen=True)
class Redirect:
    """Redirects to `location`."""

    location: str = "http://127.0.0.1:9/elsewhere"
    status: int = 307

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Redirect."""
        return exchange.whole(b"", status=self.status, headers={"Location": self.location})


@dataclass(frozen=True)
class Reset:
    """Resets the connection before any header."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Reset."""
        exchange.reset()
        return web.Response()


@dataclass(frozen=True)
class Silence:
    """Accepts the request and says nothing; with `headers`, not after the headers either."""

    headers: bool = False

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Wait for the client to go."""
        if self.headers:
            await exchange.begin(content_type=EVENTS if exchange.streams else JSON)
        await exchange.wait_until_left()
        return web.Response()


@dataclass(frozen=True)
class Broken:
    """Answers well up to a point, and then does what `then` says.

    `reset`: the connection is reset; `end`: the body ends as if it were whole (a unary one before
    its announced length); `stall`: silence; `malformed`: something that is not JSON; `oversized`:
    data without end; `error`: an error object. `after` counts events of a stream, the role first.
    """

    then: str
    after: int = 3
    error: Mapping[str, Any] = field(
        default_factory=lambda: {"message": "The server had an error.", "type": "server_error"}
    )

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer up to the point."""
        answer = Answer()
        if exchange.streams:
            response = await exchange.begin()
            for frame in answer.frames(exchange)[: self.after]:
                await response.write(frame)
        elif self.then in ("malformed", "error"):
            return exchange.whole(
                b'{"id": "chatcmpl-1", "choices": [{'
                if self.then == "malformed"
                else json.dumps({"error": dict(self.error)}).encode()
            )
        else:
            body = json.dumps(answer.data(exchange)).encode()
            response = await exchange.begin(content_type=JSON, length=len(body) + 1_000_000_000)
            await response.write(body[: len(body) // 2])
        return await self._break(exchange, response)

    async def _break(self, exchange: Exchange, response: web.StreamResponse) -> web.StreamResponse:
        if self.then == "stall":
            await exchange.wait_until_left()
        elif self.then == "malformed":
            await response.write(b'data: {"choices": [{"delta": \n\n')
            await exchange.wait_until_left()
        elif self.then == "error":
            await response.write(event({"error": dict(self.error)}, "error"))
            await exchange.wait_until_left()
        elif self.then == "oversized":
            await response.write(b"data: ")
            while True:
                await response.write(b"x" * 1_048_576)
        elif self.then == "reset":
            await asyncio.sleep(0.01)  # a reset overtakes what was not yet read
            exchange.reset()
        elif exchange.streams:
            await response.write_eof()
        else:
            exchange.raw(b"")
        return response


@dataclass
class Flapping:
    """Goes through `behaviours` again and again, one a request."""

    behaviours: Sequence[Behaviour]
    _next: int = 0

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer with the next."""
        behaviour = self.behaviours[self._next % len(self.behaviours)]
        self._next += 1
        return await behaviour.respond(exchange)
