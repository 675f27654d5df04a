"""What the requests of a process do at the moment: work here, or wait for somebody elsewhere."""

import time
from dataclasses import dataclass, field

LONG_SECONDS = 0.05
"""How long a request waits for its caller before it counts as one that wants nothing here; what
has arrived already is read in less."""


class Away:
    """Counts those that wait for a provider or another process, each inside an `async with`.

    They cost this process next to nothing, for however long.
    """

    def __init__(self) -> None:
        self.count = 0

    async def __aenter__(self) -> None:
        self.count += 1

    async def __aexit__(self, *_: object) -> None:
        self.count -= 1


class Callers:
    """The requests that wait for what their callers send."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def begin(self, request: object) -> None:
        """A request waits from now on."""
        self._since[id(request)] = time.monotonic()

    def end(self, request: object) -> None:
        """It does not wait any more."""
        self._since.pop(id(request), None)

    @property
    def slow(self) -> int:
        """How many requests have waited long."""
        count = 0
        latest = time.monotonic() - LONG_SECONDS
        for since in self._since.values():  # in the order in which they began to wait
            if since > latest:
                break
            count += 1
        return count


UNCOUNTED = Callers()
"""For the requests that did not have to be let in."""


@dataclass(slots=True)
class Load:
    """One process's requests; those that its services make of one another are part of these."""

    running: int = 0
    """Requests that have been let in and are not over."""
    away: Away = field(default_factory=Away)
    callers: Callers = field(default_factory=Callers)

    @property
    def busy(self) -> int:
        """How many want something of this process; several calls of one request count as many."""
        return max(0, self.running - self.away.count - self.callers.slow)
