"""An upstream that gives the key of each call back, wherever an answer has room for it."""

from dataclasses import dataclass, replace

from aiohttp import web

from tests.upstream.behaviours import Answer, Broken, Raw, Redirect, Status
from tests.upstream.exchange import EVENTS, Behaviour, Exchange

_STATUSES = (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503)


@dataclass(frozen=True)
class EchoStatus:
    """Refuses, with the key in each member of the error and in the request's id."""

    status: int

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Refuse."""
        key = exchange.received.key
        headers = {"x-request-id": key, "mistral-correlation-id": key, "retry-after": "0"}
        refusal = Status(self.status, f"The key {key} is no good.", key, key, headers)
        return await refusal.respond(exchange)


@dataclass(frozen=True)
class EchoError:
    """Answers 200, with an error that names the key; a stream has begun well by then."""

    code: str = ""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer with the error."""
        key = exchange.received.key
        error = {"message": f"The key {key} is no good.", "type": key, "code": self.code or key}
        return await Broken("error", error=error).respond(exchange)


@dataclass(frozen=True)
class EchoBody:
    """Answers with something unreadable that holds the key."""

    status: int
    content_type: str
    body: str

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        body = self.body.replace("{key}", exchange.received.key).encode()
        return await Raw(body, self.status, self.content_type).respond(exchange)


@dataclass(frozen=True)
class EchoRedirect:
    """Redirects to an address with the key in it."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Redirect."""
        location = f"http://127.0.0.1:9/?key={exchange.received.key}"
        return await Redirect(location).respond(exchange)


@dataclass(frozen=True)
class EchoModel:
    """Answers well, as a model whose name is the key."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        key = exchange.received.key
        named = Exchange(exchange.request, replace(exchange.received))
        named.received.body = {**exchange.received.body, "model": key}
        return await Answer().respond(named)


ECHOES: tuple[Behaviour, ...] = (
    *(EchoStatus(status) for status in _STATUSES),
    EchoError(),
    EchoError("context_length_exceeded"),
    EchoError("content_filter"),
    EchoError("model_not_found"),
    EchoError("400"),
    EchoBody(200, "application/json", '{"choices": [{"message": "{key}'),
    EchoBody(200, EVENTS, 'data: {"choices": [{"delta": "{key}\n\n'),
    EchoBody(200, "text/html", "<p>{key}</p>"),
    EchoBody(500, "text/html", "<p>{key}</p>"),
    EchoRedirect(),
    EchoModel(),
)
