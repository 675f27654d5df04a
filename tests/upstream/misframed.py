"""Answers in a wrong frame: without their end or one too many, of a wrong type, in an old HTTP."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from tests.upstream.behaviours import Answer
from tests.upstream.exchange import EVENTS, JSON, Exchange
from tests.upstream.formats import DONE, event


@dataclass(frozen=True)
class Unended:
    """Streams everything but `[DONE]`; answers well in one piece.

    `usage`: whether the usage comes; `hold`: whether the connection then stays open in silence.
    """

    usage: bool = True
    hold: bool = False

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Stream without the end."""
        answer = Answer()
        if not exchange.streams:
            return await answer.respond(exchange)
        frames = [frame for frame in answer.frames(exchange) if frame != DONE]
        if not self.usage:
            frames = [frame for frame in frames if b'"choices": []' not in frame]
        response = await exchange.begin()
        for frame in frames:
            await response.write(frame)
        if self.hold:
            await exchange.wait_until_left()
        await response.write_eof()
        return response


@dataclass(frozen=True)
class WrongType:
    """Answers well, under the content type of a web page."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        answer = Answer()
        if exchange.streams:
            body = b"".join(answer.frames(exchange))
        else:
            body = json.dumps(answer.data(exchange)).encode()
        return exchange.whole(body, content_type="text/html")


@dataclass(frozen=True)
class OldHttp:
    """Answers in HTTP/1.0, where the end of the connection is the end of the body; maybe `cut`."""

    cut: bool = False

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer and close."""
        answer = Answer()
        if exchange.streams:
            kind, pieces = EVENTS, answer.frames(exchange)
        else:
            text = json.dumps(answer.data(exchange)).encode()
            kind, pieces = JSON, [text[: len(text) // 2], text[len(text) // 2 :]]
        if self.cut:
            pieces = pieces[: len(pieces) // 2]
        head = f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        return exchange.raw(head.encode() + b"".join(pieces))


@dataclass(frozen=True)
class Restless:
    """Streams a whole answer and then chunks that say nothing, until the client goes."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Stream without an end."""
        response = await exchange.begin()
        for frame in Answer().frames(exchange):
            if frame != DONE and b'"choices": []' not in frame:
                await response.write(frame)
        while True:
            await response.write(event({"choices": []}))
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class CutRefusal:
    """Refuses with a status, and a body of which `then` the rest does not come, or never ends.

    `end`: the connection is closed; `stall`: silence; `endless`: more and more of it comes.
    """

    status: int
    then: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Refuse."""
        headers = {**exchange.headers, "Content-Type": JSON, **self.headers}
        response = web.StreamResponse(status=self.status, headers=headers)
        response.content_length = 1_000_000_000
        await response.prepare(exchange.request)
        await response.write(b'{"error": {"message": "')
        if self.then == "stall":
            await exchange.wait_until_left()
        while self.then == "endless":
            await response.write(b"x" * 1_048_576)
        exchange.raw(b"")
        return response


@dataclass
class AnswerTwice:
    """Answers chat well, and once more when `again` is called, unasked, on the same connection."""

    again: Callable[[], None] = field(default=lambda: None)

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer for the first time."""
        body = b'{"choices": [{"message": {"content": "unasked"}, "finish_reason": "stop"}]}'
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.again = exchange.later(head.encode() + body)
        return exchange.json(Answer().data(exchange))
