"""The Mistral SDK over one HTTP pool."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpcore2
import httpx2
from mistralai.client import Mistral

from service_core.upstream.clients import HttpResponse, Operation
from service_core.upstream.clients_http import (
    CONNECT_SECONDS,
    FIRST_REFUSAL,
    NO_KEY,
    LimitedBody,
    pool_arguments,
    refusals_as,
    trust,
)
from service_core.upstream.dialling import DialGuard
from service_core.upstream.dialling_http import guard_pool


class _Refusal(LimitedBody, httpx2.AsyncByteStream):
    """The body of a refusal."""


class _Silence:
    """The SDK's debug log, without which MISTRAL_DEBUG would turn its own on."""

    def debug(self, msg: str, *args: object, **kwargs: object) -> None:
        """Drop it: it holds prompts and headers."""


class _Call:
    """The HTTP client that the SDK sees in one call: the pool's, and it keeps the response.

    The SDK gives neither headers nor body of what it received, replaces the pool's time limits
    by one of its own, reads a body of any size, and does not close a response whose call is
    cancelled.
    """

    def __init__(self, pool: httpx2.AsyncClient) -> None:
        self._pool = pool
        self.response: httpx2.Response | None = None

    def build_request(self, method: str, url: Any, **rest: Any) -> httpx2.Request:
        rest["timeout"] = httpx2.USE_CLIENT_DEFAULT
        return self._pool.build_request(method, url, **rest)

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,  # noqa: ARG002 # always: whoever reads the body limits it
        **rest: Any,
    ) -> httpx2.Response:
        self.response = await self._pool.send(request, stream=True, **rest)
        if self.response.status_code >= FIRST_REFUSAL:
            await self.response.aread()  # else the SDK consumes it
        return self.response

    async def aclose(self) -> None:
        """The pool outlives the call."""


class MistralClient:
    """Asks Mistral's API."""

    def __init__(self, guard: DialGuard, proxy: str | None) -> None:
        arguments = pool_arguments(proxy)
        self._base_url = guard.base_url
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            transport=guard_pool(httpx2.AsyncHTTPTransport(verify=trust()), guard, httpcore2),
            event_hooks=refusals_as(_Refusal),
            **arguments,
        )
        # Never used, and given because the SDK would make one, in every call.
        self._unused = httpx2.Client(**arguments)

    @asynccontextmanager
    async def post(
        self, operation: Operation, body: Mapping[str, Any], *, key: str, stream: bool
    ) -> AsyncIterator[HttpResponse]:
        """Ask once; see SharedClient."""
        call = _Call(self._http)
        sdk = Mistral(
            api_key=key or NO_KEY,
            server_url=self._base_url,
            client=self._unused,
            async_client=call,
            debug_logger=_Silence(),
        )
        # Explicitly off: MISTRAL_SDK_TELEMETRY would export the prompts.
        sdk.sdk_configuration.__dict__["telemetry"] = False
        try:
            try:
                if operation is Operation.EMBEDDINGS:
                    await sdk.embeddings.create_async(**body)
                elif stream:
                    await sdk.chat.stream_async(**body)
                else:
                    await sdk.chat.complete_async(**body)
            except Exception:
                # Once there is a response, whoever reads it judges it by status and content.
                if call.response is None:
                    raise
            if call.response is None:
                raise ValueError("The SDK sent no request.")
            yield call.response
        finally:
            if call.response is not None:
                await call.response.aclose()

    async def aclose(self) -> None:
        """Close the HTTP pool."""
        self._unused.close()
        await self._http.aclose()


def make(guard: DialGuard, proxy: str | None) -> MistralClient:
    """Make the shared client of what a guard lets be dialled."""
    return MistralClient(guard, proxy)
