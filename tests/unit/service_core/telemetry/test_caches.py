from functools import lru_cache

from service_core.telemetry import Metrics
from service_core.telemetry.caches import show_cache


def test_a_cache_shows_its_entries_hits_and_misses() -> None:
    @lru_cache(2)
    def doubled(number: int) -> int:
        return 2 * number

    metrics = Metrics()
    show_cache(metrics.live, "query", "doubled", doubled.cache_info)
    for number in (1, 1, 1, 2, 3):
        doubled(number)
    found = {
        what: metrics.registry.get_sample_value(
            "cascada_cache", {"service": "query", "cache": "doubled", "what": what}
        )
        for what in ("entries", "hits", "misses")
    }
    assert found == {"entries": 2, "hits": 2, "misses": 3}
