"""The OpenAI SDK over one HTTP pool; it also serves every OpenAI-compatible endpoint."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpcore2
import httpx2
from openai import APIStatusError, AsyncOpenAI, Omit

from service_core.upstream.clients import HttpResponse, Operation
from service_core.upstream.clients_http import (
    CONNECT_SECONDS,
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


class _OpenAI(AsyncOpenAI):
    """The SDK without the headers that it takes from the environment or tells of this machine."""

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        return {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": self.user_agent,
        }


class OpenAIClient:
    """Asks an OpenAI-shaped API."""

    def __init__(self, guard: DialGuard, proxy: str | None) -> None:
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            transport=guard_pool(httpx2.AsyncHTTPTransport(verify=trust()), guard, httpcore2),
            event_hooks=refusals_as(_Refusal),
            **pool_arguments(proxy),
        )
        self._sdk = _OpenAI(
            api_key=NO_KEY,
            base_url=guard.base_url,
            http_client=self._http,
            timeout=self._http.timeout,
            max_retries=0,
        )

    @asynccontextmanager
    async def post(
        self, operation: Operation, body: Mapping[str, Any], *, key: str, stream: bool
    ) -> AsyncIterator[HttpResponse]:
        """Ask once; see SharedClient."""
        sdk = self._sdk.with_options(api_key=key or NO_KEY, max_retries=0)
        rest = {name: value for name, value in body.items() if name not in _NAMED}
        async with AsyncExitStack() as stack:
            response: HttpResponse
            try:
                if operation is Operation.CHAT:
                    chat = sdk.chat.completions.with_streaming_response.create(
                        model=body["model"],
                        messages=body["messages"],
                        stream=stream,
                        extra_body=rest,
                    )
                    response = (await stack.enter_async_context(chat)).http_response
                else:
                    embeddings = sdk.embeddings.with_streaming_response.create(
                        model=body["model"],
                        input=body["input"],
                        encoding_format=body["encoding_format"],
                        extra_body=rest,
                    )
                    response = (await stack.enter_async_context(embeddings)).http_response
            except APIStatusError as error:
                response = error.response
            yield response

    async def aclose(self) -> None:
        """Close the HTTP pool."""
        await self._http.aclose()


_NAMED = frozenset({"model", "messages", "input", "encoding_format", "stream"})


def make(guard: DialGuard, proxy: str | None) -> OpenAIClient:
    """Make the shared client of what a guard lets be dialled."""
    return OpenAIClient(guard, proxy)
