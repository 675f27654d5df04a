"""Good answers in a wrong frame: a stream without its end, a wrong content type, an old HTTP."""

import json
from dataclasses import dataclass

from aiohttp import web

from tests.upstream.behaviours import Answer
from tests.upstream.exchange import EVENTS, JSON, Exchange
from tests.upstream.formats import DONE


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
