"""Ends what would hold a draining server up: health watches and reflection, open without end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from service_core.interceptors.handler import Call, HandlerInterceptor


class DrainInterceptor(HandlerInterceptor):
    """Lets the server end the calls of gRPC's own services; all others may finish."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._draining = False

    def end_infrastructure(self) -> None:
        """Ends health watches and reflection streams with UNAVAILABLE, now and from now on."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for scope in self._open:
            scope.reschedule(now)

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Keeps calls of gRPC's own services within reach."""
        if not call.is_infrastructure:
            yield
            return
        scope = asyncio.timeout(0 if self._draining else None)
        try:
            async with scope:
                self._open.add(scope)
                try:
                    yield
                finally:
                    self._open.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            await call.context.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
