"""Caches as operators see them."""

from collections.abc import Callable, Iterator
from typing import Protocol

from service_core.telemetry.live import Labelled, LiveGauges


class CacheInfo(Protocol):
    """What `functools.lru_cache` tells of itself."""

    @property
    def hits(self) -> int:
        """How often an entry was there."""
        ...

    @property
    def misses(self) -> int:
        """How often none was."""
        ...

    @property
    def currsize(self) -> int:
        """How many entries there are."""
        ...


def show_cache(live: LiveGauges, service: str, cache: str, info: Callable[[], CacheInfo]) -> None:
    """Add a cache's numbers."""

    def read() -> Iterator[Labelled]:
        now = info()
        shown = {"hits": now.hits, "misses": now.misses, "entries": now.currsize}
        for what, number in shown.items():
            yield (service, cache, what), number

    live.add(
        "cascada_cache",
        "Caches: entries now, hits and misses since the start.",
        ("service", "cache", "what"),
        read,
    )
