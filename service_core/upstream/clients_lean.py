"""One HTTP pool over aiohttp, without an SDK: the wire format that all providers share.

A call costs a tenth of the SDKs' time. What is sent and understood is the same; a suite runs both
against one server to prove it.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from config_core.model_configuration import ModelProvider
from service_core.upstream.clients import HttpResponse, Operation
from service_core.upstream.clients_http import CONNECT_SECONDS, KEPT_SECONDS, NO_KEY, trust
from service_core.upstream.dialling import DialGuard
from service_core.upstream.dialling_aiohttp import GuardedResolver
from service_core.upstream.reuse_aiohttp import AskingConnector

_MAX_HEADER_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024

# Base URLs are in the form that each provider's SDK takes: what follows them differs.
_ROOTS: Mapping[ModelProvider, str] = {
    ModelProvider.OPENAI: "",
    ModelProvider.GROQ: "/openai/v1",
    ModelProvider.MISTRAL: "/v1",
}
_PATHS: Mapping[Operation, str] = {
    Operation.CHAT: "/chat/completions",
    Operation.EMBEDDINGS: "/embeddings",
}
# Mistral's SDK calls by its Python name what the wire calls otherwise.
_WIRE_NAMES: Mapping[ModelProvider, Mapping[str, str]] = {
    ModelProvider.MISTRAL: {"inputs": "input"}
}
_HEADERS = {"Content-Type": "application/json", "User-Agent": "cascada"}


class _Response:
    """An aiohttp response in the form of SharedClient's."""

    __slots__ = ("_response", "headers", "status_code")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status_code = response.status
        self.headers: Mapping[str, str] = response.headers

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Read the decoded body, piece by piece."""
        while piece := await self._response.content.readany():
            yield piece


class _Call:
    """One call: entering sends it, leaving closes what is left of its response."""

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        self._context = context

    async def __aenter__(self) -> HttpResponse:
        return _Response(await self._context.__aenter__())

    async def __aexit__(self, *error: object) -> None:
        await self._context.__aexit__(*error)


class LeanClient:
    """Asks any provider's API at one base URL."""

    def __init__(self, protocol: ModelProvider, guard: DialGuard, proxy: str | None) -> None:
        root = guard.base_url.rstrip("/") + _ROOTS[protocol]
        self._guard = guard
        self._is_checked = False
        self._urls = {operation: URL(root + path) for operation, path in _PATHS.items()}
        self._names = _WIRE_NAMES.get(protocol, {})
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=AskingConnector(
                limit=0,
                keepalive_timeout=KEPT_SECONDS,
                ssl=trust(),
                resolver=None if proxy else GuardedResolver(guard),
                enable_cleanup_closed=False,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            trust_env=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            read_bufsize=_READ_BYTES,
        )

    def post(
        self, operation: Operation, body: Mapping[str, Any], *, key: str, stream: bool
    ) -> _Call:
        """Ask once; see SharedClient."""
        if not self._is_checked:  # a host that is an address is not resolved
            self._guard.check_url()
            self._is_checked = True
        sent = {self._names.get(name, name): value for name, value in body.items()}
        if operation is Operation.CHAT:
            sent["stream"] = stream
        headers = {
            "Authorization": f"Bearer {key or NO_KEY}",
            "Accept": "text/event-stream" if stream else "application/json",
        }
        return _Call(
            self._session.post(
                self._urls[operation],
                data=msgspec.json.encode(sent),
                headers=headers,
                proxy=self._proxy,
                allow_redirects=False,
            )
        )

    async def aclose(self) -> None:
        """Close the HTTP pool."""
        await self._session.close()


def make(protocol: ModelProvider, guard: DialGuard, proxy: str | None) -> LeanClient:
    """Make the shared client of what a guard lets be dialled."""
    return LeanClient(protocol, guard, proxy)
