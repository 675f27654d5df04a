"""The guard in both generations of httpx: a network backend that connects to checked addresses.

TLS still checks the certificate against the host's name, and the request names it: only the
connection is made to an address.
"""

import asyncio
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from service_core.upstream.clients_http import KEPT_SECONDS, MAX_KEPT_CONNECTIONS, trust
from service_core.upstream.dialling import DialGuard

_PATIENCE_SECONDS = 1.0
"""How long an address may take to answer where another one could be tried."""


class GuardedBackend:
    """Makes the connections of one pool."""

    def __init__(self, guard: DialGuard, core: ModuleType) -> None:
        """`core` is httpcore or httpcore2."""
        self._guard = guard
        self._core = core
        self._inner = core.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 # httpcore's own signature
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        """A stream to the first of the host's addresses that answers."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._guard.addresses(host, port)
                return await self._connected(addresses, port, local_address, socket_options)
        except TimeoutError:
            raise self._core.ConnectTimeout("no address answered in time") from None
        except OSError:
            raise self._core.ConnectError("the name has no address") from None

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)

    async def _connected(
        self, addresses: Sequence[str], port: int, local_address: str | None, options: Any
    ) -> Any:
        *others, last = addresses
        for address in others:
            try:
                return await self._inner.connect_tcp(
                    address, port, _PATIENCE_SECONDS, local_address, options
                )
            except (self._core.ConnectError, self._core.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(last, port, None, local_address, options)


def guard_pool(transport: Any, guard: DialGuard, core: ModuleType) -> Any:
    """Give an httpx transport a connection pool whose connections the guard makes."""
    if not isinstance(transport._pool, core.AsyncConnectionPool):  # noqa: SLF001 # there is no other way in
        raise TypeError("the transport has no pool that could be guarded")
    transport._pool = core.AsyncConnectionPool(  # noqa: SLF001 # the same
        ssl_context=trust(),
        max_connections=None,
        max_keepalive_connections=MAX_KEPT_CONNECTIONS,
        keepalive_expiry=KEPT_SECONDS,
        network_backend=GuardedBackend(guard, core),
    )
    return transport
