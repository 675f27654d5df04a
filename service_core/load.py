"""What the requests of a process do at the moment: work here, or wait for somebody elsewhere."""

from dataclasses import dataclass, field


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


@dataclass(slots=True)
class Load:
    """One process's requests; those that its services make of one another are part of these."""

    running: int = 0
    """Requests that have been let in and are not over."""
    away: Away = field(default_factory=Away)

    @property
    def busy(self) -> int:
        """How many want something of this process; several calls of one request count as many."""
        return max(0, self.running - self.away.count)
