"""The one deadline of a request: an instant that every hop, attempt and wait measures against."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from config_core.errors import BudgetSpentError

_MARGIN = 0.05
_MARGIN_SHARE = 0.1
_NEVER_SECONDS = 1e6
"""Eleven days: what a timer can still take."""


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """An instant on the monotonic clock. Of two deadlines the earlier is the smaller."""

    at: float
    """Seconds, as `time.monotonic()` counts them."""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Gives the deadline that lies `seconds` ahead."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def never(cls) -> Self:
        """Gives the deadline of a caller who has none."""
        return cls.after(_NEVER_SECONDS)

    @classmethod
    def of_caller(cls, time_remaining: float | None) -> Self:
        """Gives the caller's deadline with a margin.

        Our own error with its attempts then arrives before gRPC ends the call.

        Args:
            time_remaining: What `ServicerContext.time_remaining()` says; None without a deadline.
        """
        if time_remaining is None:
            return cls.never()
        return cls.after(time_remaining - _margin(time_remaining))

    @classmethod
    def at_the_latest(cls, time_remaining: float) -> Self:
        """Gives the last moment at which an error still reaches the caller: half of the margin."""
        return cls.after(time_remaining - _margin(time_remaining) / 2)

    @classmethod
    def from_context(cls, time_remaining: float | None, timeout_seconds: float) -> Self:
        """Gives the smaller of the caller's deadline and the effective `timeout_seconds`."""
        return min(cls.of_caller(time_remaining), cls.after(timeout_seconds))

    @property
    def expired(self) -> bool:
        """Whether nothing is left."""
        return self.remaining() <= 0

    def remaining(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.at - time.monotonic())

    def at_most(self, seconds: float | None) -> float:
        """Gives what is left or the limit of one step, whichever is less, in seconds.

        None is no limit of its own.
        """
        remaining = self.remaining()
        return remaining if seconds is None else min(remaining, seconds)

    def handed_down(self) -> float:
        """Seconds to give the next hop: what is left without the time to report its failure.

        The margin is 50 ms, or a tenth of what is left where that is less.
        """
        remaining = self.remaining()
        return _exactly(remaining - _margin(remaining))

    @asynccontextmanager
    async def timeout(self) -> AsyncIterator[None]:
        """Ends the block at the deadline with BudgetSpentError.

        A TimeoutError that the block raises by itself, and a cancellation from outside, pass
        unchanged. The block of an async generator must not yield: the deadline would strike whoever
        reads from it. Put each `anext` into a block of its own.
        """
        if self.expired:
            raise _spent()
        scope = asyncio.timeout(self.remaining())
        try:
            async with scope:
                yield
        except TimeoutError:
            if scope.expired():
                raise _spent() from None
            raise


def _margin(seconds: float) -> float:
    return min(_MARGIN, seconds * _MARGIN_SHARE)


def _exactly(seconds: float) -> float:
    """The most that gRPC hands over as it is: it rounds a timeout up to three digits."""
    for step in (10.0, 1.0, 0.1):
        if seconds >= 100 * step:
            return math.floor(seconds / step) * step
    return seconds


def _spent() -> BudgetSpentError:
    return BudgetSpentError(
        "The deadline passed before there was an answer: give the call more time, or raise "
        "timeout_seconds."
    )
