"""What every provider's HTTP pool is made of, the same for both generations of httpx.

Nothing is read from the environment, no redirect is followed, no cookie is kept (a pool serves
many callers), and only connecting has a time limit: the caller limits the rest.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

CONNECT_SECONDS = 10.0
MAX_KEPT_CONNECTIONS = 100
KEPT_SECONDS = 30.0
MAX_REFUSAL_BYTES = 1024 * 1024
FIRST_REFUSAL = 300
NO_KEY = "none"
"""Goes where an endpoint needs no key: the SDKs insist on one, and would look for a real one."""


@cache
def trust() -> ssl.SSLContext:
    """The system's certificates; reading them takes 20 ms, so once for all pools."""
    return ssl.create_default_context()


def pool_arguments(proxy: str | None) -> dict[str, Any]:
    """Arguments of an httpx client, beside `timeout` and `limits`, whose types differ."""
    return {
        "proxy": proxy,
        "trust_env": False,
        "follow_redirects": False,
        "verify": trust(),
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    }


class LimitedBody:
    """The body of a response, up to MAX_REFUSAL_BYTES; a client's own kind of stream joins it."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_REFUSAL_BYTES
        async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(self._body))) as pieces:
            async for piece in pieces:
                yield piece
                left -= len(piece)
                if left <= 0:
                    return

    async def aclose(self) -> None:
        """Close the response's own body."""
        await self._body.aclose()


def refusals_as(
    kind: Callable[[Any], LimitedBody],
) -> Mapping[str, list[Callable[[Any], Awaitable[None]]]]:
    """Hooks of an httpx client: the body of a refusal ends early, for the SDKs read all of it."""

    async def limit(response: Any) -> None:
        if response.status_code >= FIRST_REFUSAL:
            response.stream = kind(response.stream)

    return {"response": [limit]}
