"""Time that passes only when everything waits: waits of minutes take no time, and none is flaky."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

_MODULES = ("service_core.trial", "service_core.deadline")


class VirtualClock:
    """The clock of the running loop, and of what reads `time.monotonic()` for its deadlines."""

    def __init__(self, start: float) -> None:
        self.now = self.start = start
        self.lag = 0.0
        """Seconds by which timers strike early, as those of uvloop do by up to a millisecond."""

    @property
    def passed(self) -> float:
        """Seconds since the test began."""
        return self.now - self.start

    def monotonic(self) -> float:
        return self.now - self.lag


@contextmanager
def virtual_clock() -> Iterator[VirtualClock]:
    """Give the running loop, and the modules that measure deadlines, a clock of their own."""
    loop: Any = asyncio.get_running_loop()
    clock = VirtualClock(start=1024.0)  # a power of two: sums of it with quarters are exact
    select = loop._selector.select

    def advance(timeout: float | None) -> Any:
        events = select(timeout if timeout is None else 0)
        if not events and timeout:
            clock.now += timeout
        return events

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: clock.now)
        patch.setattr(loop._selector, "select", advance)
        for module in _MODULES:
            patch.setattr(f"{module}.time", SimpleNamespace(monotonic=clock.monotonic))
        yield clock
