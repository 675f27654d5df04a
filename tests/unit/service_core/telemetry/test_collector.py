import pytest
import structlog

from service_core.telemetry.collector import QUIET_SECONDS, Collector, Told
from service_core.telemetry.live import LiveGauges


def test_a_collector_that_is_away_is_told_of_rarely_and_its_return_once() -> None:
    now = 0.0
    collector = Collector("traces", LiveGauges(), lambda: now)
    with structlog.testing.capture_logs() as logs:
        for _ in range(50):
            collector.refused()
        now += QUIET_SECONDS
        collector.refused()
        collector.took()
        collector.took()
    assert [line["log_level"] for line in logs] == ["warning", "warning", "info"]


def test_exports_are_counted_by_how_they_ended() -> None:
    live = LiveGauges()
    collector = Collector("traces", live)
    told: Told[int, int] = Told(lambda batch: 10 // batch, 10, collector)
    for batch in (1, 5):
        told(batch)
    with pytest.raises(ZeroDivisionError):
        told(0)
    (family,) = live.collect()
    counts = {sample.labels["outcome"]: sample.value for sample in family.samples}
    assert counts == {"exported": 1, "failed": 2}
