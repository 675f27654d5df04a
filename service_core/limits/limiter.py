"""Lets requests in as far as their tenant's limits allow, and counts what they have used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from config_core.errors import LimitExceededError, OverloadedError
from service_core.limits.port import Demand, Limit, LimitStore, LimitsUnavailableError, Refusal

AWAY_RETRY_SECONDS = 2.0


@dataclass(slots=True)
class Use:
    """What a request has used; whoever knows says so before its end."""

    tokens: int | None = None
    """`None` where nobody knows: then what was reserved counts."""


class Limiter:
    """Counts in one store; closed with it."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        self._settling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def admitted(self, tenant: str, demand: Demand) -> AsyncIterator[Use]:
        """What a request runs in; it counts until the end, however that comes about.

        Raises:
            LimitExceededError: One of the limits is used up.
            OverloadedError: Nobody can say, and the operator wants such requests refused.
        """
        try:
            taken = await self._store.take(tenant, demand)
        except LimitsUnavailableError:
            raise _uncountable() from None
        if isinstance(taken, Refusal):
            raise LimitExceededError(
                taken.limit, _most(demand, taken.limit), max(0.001, taken.retry_after)
            )
        use = Use()
        try:
            yield use
        finally:
            # A cancelled request gives its place back too.
            settling = asyncio.create_task(self._store.settle(taken, use.tokens))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)
            await asyncio.shield(settling)

    async def aclose(self) -> None:
        """Wait for what is being settled, and close the store."""
        await asyncio.gather(*self._settling, return_exceptions=True)
        await self._store.aclose()


def _most(demand: Demand, limit: Limit) -> int:
    by_limit = {
        Limit.REQUESTS: demand.requests,
        Limit.TOKENS: demand.tokens,
        Limit.CONCURRENT: demand.concurrent,
    }
    return by_limit[limit] or 0


def _uncountable() -> OverloadedError:
    error = OverloadedError(
        "The tenant's limits can't be checked at the moment: try again shortly.",
        metadata={"service": "limits"},
    )
    error.retry_after = AWAY_RETRY_SECONDS
    return error
