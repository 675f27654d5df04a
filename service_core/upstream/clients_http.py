"""What every provider's HTTP pool is made of, the same for both generations of httpx.

Nothing is read from the environment, no redirect is followed, no cookie is kept (a pool serves
many callers), and only connecting has a time limit: the caller limits the rest.
"""

import asyncio
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
MAX_ENCODED_REFUSAL_BYTES = 8 * 1024
"""Of a compressed one, whose SDK decompresses all of it: it may grow a thousandfold."""
REFUSAL_SECONDS = 2.0
"""How long a refusal's body may take: its status is known before it."""
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
    """The body of a refusal, as far as it comes within limits; a client's own kind of stream joins.

    One that breaks off ends there, as if it were whole: it is the status that counts.
    """

    def __init__(self, body: Any, most: int) -> None:
        self._body = body
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        until = asyncio.get_running_loop().time() + REFUSAL_SECONDS
        async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(self._body))) as pieces:
            while left > 0:
                try:
                    async with asyncio.timeout_at(until):
                        piece = (await anext(pieces))[:left]
                except Exception:  # noqa: BLE001 # the end, in whichever way
                    return
                yield piece
                left -= len(piece)

    async def aclose(self) -> None:
        """Close the response's own body."""
        await self._body.aclose()


def refusals_as(
    kind: Callable[[Any, int], LimitedBody],
) -> Mapping[str, list[Callable[[Any], Awaitable[None]]]]:
    """Hooks of an httpx client: the body of a refusal ends early, for the SDKs read all of it."""

    async def limit(response: Any) -> None:
        if response.status_code >= FIRST_REFUSAL:
            encoded = "content-encoding" in response.headers
            most = MAX_ENCODED_REFUSAL_BYTES if encoded else MAX_REFUSAL_BYTES
            response.stream = kind(response.stream, most)

    return {"response": [limit]}
