"""Counts in memory: for one process."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from service_core.limits.port import Demand, Grant, Limit, Refusal
from service_core.limits.window import WINDOW_SECONDS, Window

CONCURRENT_RETRY_SECONDS = 1.0
"""When to try again where too many run: nobody knows when the next one ends."""
_SWEPT_AT_ONCE = 2


@dataclass(slots=True)
class _Use:
    requests: Window
    tokens: Window
    running: set[str] = field(default_factory=set)

    def is_idle(self, now: float) -> bool:
        return not self.running and self.requests.is_empty(now) and self.tokens.is_empty(now)


class MemoryLimits:
    """The use of each tenant; one that asks for nothing any more is forgotten."""

    def __init__(
        self,
        *,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_seconds = window_seconds
        self._clock = clock
        self._uses: OrderedDict[str, _Use] = OrderedDict()

    @property
    def tenants(self) -> int:
        """How many tenants are remembered."""
        return len(self._uses)

    async def take(self, tenant: str, demand: Demand) -> Grant | Refusal:
        """Count a request, or say what keeps it out."""
        now = self._clock()
        self._sweep(now)
        use = self._uses.get(tenant)
        if use is None:
            use = _Use(Window(self._window_seconds), Window(self._window_seconds))
            self._uses[tenant] = use
        self._uses.move_to_end(tenant)
        refusal = _refusal(use, demand, now)
        if refusal is not None:
            return refusal
        lease, number = "", 0
        if demand.concurrent is not None:
            lease = uuid.uuid4().hex
            use.running.add(lease)
        if demand.requests is not None:
            use.requests.add(1, now)
        if demand.tokens is not None:
            number = use.tokens.add(demand.reserved, now)
        return Grant(tenant, lease, demand.reserved, number, demand.tokens is not None)

    async def settle(self, grant: Grant, tokens: int | None) -> None:
        """Give back the place, and count the tokens used instead of those that were reserved."""
        use, now = self._uses.get(grant.tenant), self._clock()
        if use is None:
            return
        use.running.discard(grant.lease)
        if grant.counts_tokens and tokens is not None:
            use.tokens.take_back(grant.slice, grant.reserved, now)
            use.tokens.add(tokens, now)

    def drop(self, grant: Grant) -> None:
        """Give back the place alone."""
        use = self._uses.get(grant.tenant)
        if use is not None:
            use.running.discard(grant.lease)

    async def aclose(self) -> None:
        """It holds nothing."""

    def _sweep(self, now: float) -> None:
        """Forget some of those that were idle the longest."""
        for _ in range(_SWEPT_AT_ONCE):
            oldest = next(iter(self._uses.items()), None)
            if oldest is None or not oldest[1].is_idle(now):
                return
            del self._uses[oldest[0]]


def _refusal(use: _Use, demand: Demand, now: float) -> Refusal | None:
    if demand.concurrent is not None and len(use.running) >= demand.concurrent:
        return Refusal(Limit.CONCURRENT, CONCURRENT_RETRY_SECONDS)
    if demand.requests is not None:
        wait = use.requests.wait_for(1, demand.requests, now)
        if wait > 0:
            return Refusal(Limit.REQUESTS, wait)
    if demand.tokens is not None:
        # What was used beyond the estimates may exceed the limit by itself: then nobody gets in.
        wait = use.tokens.wait_for(max(1, demand.reserved), demand.tokens, now)
        if wait > 0:
            return Refusal(Limit.TOKENS, wait)
    return None
