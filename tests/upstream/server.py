"""A real HTTP server that speaks the providers' formats, and misbehaves when told to.

async with UpstreamServer() as upstream:
    upstream.script(Status(429), Answer())          # the next requests, in this order
    upstream.default = Silence()                    # those after; Answer() to begin with
    upstream.choose = lambda received: ...          # or by what was received
    connection = upstream.connection(ModelProvider.GROQ, key="gsk_…")
    ...
    assert upstream.requests[0].key == "gsk_…"
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from aiohttp import web
from pydantic import SecretStr

from config_core.connection import Connection, Credential, Owner
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Behaviour, Exchange, Received

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_REQUEST_BYTES = 64 * 1024 * 1024
_SDK_BASE = {
    ModelProvider.OPENAI: "/openai/v1",
    ModelProvider.GROQ: "/groq",
    ModelProvider.MISTRAL: "/mistral",
}


class UpstreamServer:
    """The server, on a free port of the loopback address, in the test's own event loop."""

    def __init__(self) -> None:
        self.default: Behaviour = Answer()
        self.choose: Callable[[Received], Behaviour] | None = None
        self.requests: list[Received] = []
        self._script: deque[Behaviour] = deque()
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=_MAX_REQUEST_BYTES)
        application.router.add_post("/{provider}/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            for _turn in range(5):
                await asyncio.sleep(0)  # what was aborted closes its socket

    def url(self, provider: ModelProvider) -> str:
        """The base URL for a provider's SDK."""
        return f"http://127.0.0.1:{self._port}{_SDK_BASE[provider]}"

    def connection(
        self,
        provider: ModelProvider,
        key: str | None = "sk-test-0123456789abcdef",
        owner: Owner = Owner.OPERATOR,
    ) -> Connection:
        """A connection to this server; without a key it is one that needs none."""
        source = Source.ENVIRONMENT if owner is Owner.OPERATOR else Source.REQUEST
        return Connection(
            provider=provider,
            endpoint="",
            base_url=self.url(provider),
            private=True,
            source=source,
            credential=Credential(SecretStr(key), source, owner) if key is not None else None,
            keyless=key is None,
        )

    def script(self, *behaviours: Behaviour) -> None:
        """Answer the next requests in these ways, one each."""
        self._script.extend(behaviours)

    async def received(self, count: int = 1) -> Received:
        """Wait until `count` requests have come, and give the last of them."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = await _read(request)
        async with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        if self._script:
            behaviour = self._script.popleft()
        elif self.choose is not None:
            behaviour = self.choose(received)
        else:
            behaviour = self.default
        try:
            return await behaviour.respond(Exchange(request, received))
        except (asyncio.CancelledError, ConnectionError):
            received.left = True
            raise
        finally:
            received.over.set()


async def _read(request: web.Request) -> Received:
    path = request.match_info["path"]
    body = await request.json()
    operation = "embeddings" if path.endswith("embeddings") else "chat"
    if operation == "chat" and body.get("stream"):
        operation = "stream"
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return Received(
        provider=ModelProvider(request.match_info["provider"]),
        operation=operation,
        path=f"/{path}",
        key=request.headers.get("Authorization", "").removeprefix("Bearer "),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        connection=tuple(peer or ("", 0))[:2],
    )
