"""One request to the upstream server, and the ways to answer it."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from aiohttp import web

from config_core.model_configuration import ModelProvider
from tests.upstream.formats import REQUEST_ID_HEADER

JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass
class Received:
    """What a client sent."""

    provider: ModelProvider
    operation: str
    """`chat`, `stream` or `embeddings`."""
    path: str
    key: str
    """The bearer token, "" where there is none."""
    headers: Mapping[str, str]
    body: dict[str, Any]
    connection: tuple[str, int]
    """The client's address: the same for requests over one connection."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the answer has been given or the client is gone."""
    left: bool = False
    """Whether the client went away before it had the answer."""


class Behaviour(Protocol):
    """A way to answer, for every operation of every provider."""

    async def respond(self, exchange: "Exchange") -> web.StreamResponse:
        """Answer, well or badly."""
        ...


class Exchange:
    """A request that waits for its answer."""

    def __init__(self, request: web.Request, received: Received) -> None:
        self.request = request
        self.received = received

    @property
    def streams(self) -> bool:
        """Whether the client asked for a stream."""
        return self.received.operation == "stream"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the provider sends with every answer."""
        return {REQUEST_ID_HEADER[self.received.provider]: "req-42"}

    def whole(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        """An answer in one piece."""
        all_headers = {**self.headers, "Content-Type": content_type, **(headers or {})}
        return web.Response(body=body, status=status, headers=all_headers)

    def json(self, data: object) -> web.Response:
        """A JSON answer."""
        return self.whole(json.dumps(data).encode())

    async def begin(
        self, *, content_type: str = EVENTS, length: int | None = None
    ) -> web.StreamResponse:
        """Send the headers of an answer that comes in pieces."""
        response = web.StreamResponse(headers={**self.headers, "Content-Type": content_type})
        if length is not None:
            response.content_length = length
        await response.prepare(self.request)
        return response

    async def stream(self, pieces: Sequence[bytes]) -> web.StreamResponse:
        """Send a whole stream."""
        response = await self.begin()
        for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    async def wait_until_left(self) -> None:
        """Say nothing until the client goes away."""
        await asyncio.Event().wait()

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        transport = self._transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def raw(self, data: bytes) -> web.Response:
        """Send bytes below HTTP and close the connection."""
        self._transport.write(data)
        self._transport.close()
        return web.Response()

    def later(self, data: bytes) -> Callable[[], None]:
        """What sends bytes below HTTP once the answer has been given."""
        return partial(self._transport.write, data)

    @property
    def _transport(self) -> asyncio.Transport:
        transport = self.request.transport
        assert isinstance(transport, asyncio.Transport)
        return transport
