"""Counts in Redis or Valkey: for several processes."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service_core.limits.memory import CONCURRENT_RETRY_SECONDS
from service_core.limits.port import (
    Demand,
    Grant,
    Limit,
    LimitsUnavailableError,
    Refusal,
)
from service_core.limits.scripts import RENEW, SETTLE, TAKE
from service_core.limits.window import SLICES, WINDOW_SECONDS

PREFIX = "cascada:limits:"
CONNECTIONS = 16
"""A question takes a fraction of a millisecond: few are enough for thousands a second."""
ANSWER_SECONDS = 0.5
"""How long the server may take; a request waits twice that at most."""
LEASE_SECONDS = 30.0
"""After which the place of a request is given back whose process has died."""
_KEPT = -1
_NUMBERS = {1: Limit.REQUESTS, 2: Limit.TOKENS, 3: Limit.CONCURRENT}

T = TypeVar("T")


class SharedLimits:
    """The use of each tenant, counted in one place by all processes.

    Every call raises LimitsUnavailableError where the server does not answer in time.
    """

    def __init__(
        self,
        url: SecretStr,
        *,
        window_seconds: float = WINDOW_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """`url` is redis://, rediss:// or unix://; ValueError for another."""
        pool = BlockingConnectionPool.from_url(
            url.get_secret_value(),
            max_connections=CONNECTIONS,
            timeout=2 * answer_seconds,
            socket_timeout=answer_seconds,
            socket_connect_timeout=answer_seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._take = self._redis.register_script(TAKE)
        self._settle = self._redis.register_script(SETTLE)
        self._renew = self._redis.register_script(RENEW)
        self._width = int(window_seconds * 1e6 / SLICES)
        self._lease_seconds = lease_seconds
        self._patience = 2 * answer_seconds  # to connect, and to ask
        self._leases: dict[str, str] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._strays: set[asyncio.Task[None]] = set()

    async def take(self, tenant: str, demand: Demand) -> Grant | Refusal:
        """Count a request, or say what keeps it out."""
        requests, tokens, leases = _keys(tenant)
        lease = "" if demand.concurrent is None else uuid.uuid4().hex
        question = self._take(
            keys=[requests, tokens, leases],
            args=[
                self._width,
                SLICES,
                demand.requests or 0,
                demand.tokens or 0,
                demand.concurrent or 0,
                demand.reserved,
                lease,
                int(self._lease_seconds * 1e6),
            ],
        )
        try:
            code, value = await self._answered(question)
        except BaseException:
            if lease:
                self._give_back_later(tenant, lease)
            raise
        if code:
            limit = _NUMBERS[code]
            concurrent = limit is Limit.CONCURRENT
            return Refusal(limit, CONCURRENT_RETRY_SECONDS if concurrent else value / 1e6)
        if lease:
            self._keep(lease, leases)
        return Grant(tenant, lease, demand.reserved, value, demand.tokens is not None)

    async def settle(self, grant: Grant, tokens: int | None) -> None:
        """Give back the place, and count the tokens used instead of those that were reserved."""
        self.drop(grant)
        used = tokens if grant.counts_tokens and tokens is not None else _KEPT
        if not grant.lease and used == _KEPT:
            return
        _, counted, leases = _keys(grant.tenant)
        await self._answered(
            self._settle(
                keys=[counted, leases],
                args=[self._width, SLICES, grant.lease, used, grant.reserved, grant.slice],
            )
        )

    def drop(self, grant: Grant) -> None:
        """Let the place end by itself."""
        self._leases.pop(grant.lease, None)

    async def aclose(self) -> None:
        """End the renewal, and close the connections."""
        tasks = [*self._strays, *([self._renewing] if self._renewing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._redis.aclose()

    async def _answered(self, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._patience):
                return await question
        except (RedisError, OSError, TimeoutError) as error:
            # The library's own sentence may hold the address, and with it a password.
            raise LimitsUnavailableError(type(error).__name__) from None

    def _keep(self, lease: str, key: str) -> None:
        self._leases[lease] = key
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_leases(), name="limits-renewal")

    async def _renew_leases(self) -> None:
        """Let the leases of this process last, for as long as there are any."""
        while self._leases:
            await asyncio.sleep(self._lease_seconds / 3)
            by_key: defaultdict[str, list[str]] = defaultdict(list)
            for lease, key in self._leases.items():
                by_key[key].append(lease)
            for key, leases in by_key.items():
                # One that can't be renewed now is tried again before it ends.
                with suppress(LimitsUnavailableError):
                    lasting = str(int(self._lease_seconds * 1e6))
                    await self._answered(self._renew(keys=[key], args=[lasting, *leases]))

    def _give_back_later(self, tenant: str, lease: str) -> None:
        """Whoever asked does not know whether it was given the place."""

        async def give_back() -> None:
            with suppress(LimitsUnavailableError):
                await self.settle(Grant(tenant, lease), None)

        task = asyncio.create_task(give_back(), name="limits-give-back")
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)


def _keys(tenant: str) -> tuple[str, str, str]:
    # In braces, so that a cluster keeps the keys of a tenant together.
    place = f"{PREFIX}{{{quote(tenant, safe='')}}}"
    return f"{place}:requests", f"{place}:tokens", f"{place}:running"
