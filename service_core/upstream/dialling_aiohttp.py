"""The guard in aiohttp: a resolver that gives checked addresses only."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from service_core.upstream.dialling import DialGuard


class GuardedResolver(AbstractResolver):
    """Resolves for one connector, which connects to what it is given.

    A host that is an address is never resolved: whoever has the connector calls `check_url`.
    """

    def __init__(self, guard: DialGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The host's addresses, each checked; DialRefusedError, OSError for none."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._guard.addresses(host, port)
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
        ]

    async def close(self) -> None:
        """It holds nothing."""
