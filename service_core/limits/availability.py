"""What happens while the shared counts can't be reached: nobody waits for them for long."""

import time
from collections.abc import Callable
from enum import StrEnum

import structlog

from service_core.limits.port import (
    Demand,
    Grant,
    LimitStore,
    LimitsUnavailableError,
    Refusal,
)

_log = structlog.stdlib.get_logger(__name__)

REST_SECONDS = 1.0
"""How long they are left alone after a failure; then one request tries again."""


class OnFailure(StrEnum):
    """What requests get that can't be counted."""

    OPEN = "open"
    CLOSED = "closed"


class GuardedLimits:
    """A store that may fail: it is asked again after a rest, by one request at a time."""

    def __init__(
        self,
        store: LimitStore,
        on_failure: OnFailure,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._on_failure = on_failure
        self._clock = clock
        self._away_until: float | None = None

    async def take(self, tenant: str, demand: Demand) -> Grant | Refusal:
        """Count a request; one that can't be is let in, or LimitsUnavailableError is raised."""
        if self._away_until is not None and self._clock() < self._away_until:
            return self._uncounted(tenant)
        if self._away_until is not None:
            self._away_until = self._clock() + REST_SECONDS  # the others go on without it
        try:
            taken = await self._store.take(tenant, demand)
        except LimitsUnavailableError as error:
            self._failed(error)
            return self._uncounted(tenant)
        if self._away_until is not None:
            self._away_until = None
            _log.info("limits are counted again")
        return taken

    async def settle(self, grant: Grant, tokens: int | None) -> None:
        """Settle what was granted, if it was counted and can be."""
        if self._away_until is not None:
            self._store.drop(grant)
            return
        try:
            await self._store.settle(grant, tokens)
        except LimitsUnavailableError as error:
            self._failed(error)

    def drop(self, grant: Grant) -> None:
        """Let the place end by itself."""
        self._store.drop(grant)

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    def _uncounted(self, tenant: str) -> Grant:
        if self._on_failure is OnFailure.CLOSED:
            raise LimitsUnavailableError
        return Grant(tenant)

    def _failed(self, error: LimitsUnavailableError) -> None:
        if self._away_until is None:
            _log.error("limits can't be counted", why=str(error), requests_are=self._on_failure)
        self._away_until = self._clock() + REST_SECONDS
