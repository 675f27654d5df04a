"""What is told of a collector: rarely that it is away, once that it is back."""

import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import structlog

from service_core.telemetry.live import Labelled, LiveGauges

_log = structlog.stdlib.get_logger(__name__)

QUIET_SECONDS = 600.0
"""How long nothing more is said of a collector that is still away."""


class Collector:
    """Counts the exports of one signal, and says when they begin and cease to fail."""

    def __init__(
        self, signal: str, live: LiveGauges, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._signal = signal
        self._clock = clock
        self._told: float | None = None
        self._counts = {"exported": 0, "failed": 0}
        live.add(
            "cascada_telemetry_exports",
            "Exports to the collector since the start, by how they ended.",
            ("signal", "outcome"),
            self._stats,
        )

    def took(self) -> None:
        """It has taken an export."""
        self._counts["exported"] += 1
        if self._told is not None:
            self._told = None
            _log.info("the collector takes telemetry again", signal=self._signal)

    def refused(self) -> None:
        """It has not; what was exported is lost."""
        self._counts["failed"] += 1
        now = self._clock()
        if self._told is None or now - self._told >= QUIET_SECONDS:
            self._told = now
            _log.warning(
                "the collector does not take telemetry, which is lost",
                signal=self._signal,
                failed=self._counts["failed"],
                advice="see OTEL_EXPORTER_OTLP_ENDPOINT, and whether it can be reached",
            )

    def _stats(self) -> Iterator[Labelled]:
        for outcome, count in self._counts.items():
            yield (self._signal, outcome), count


Batch = TypeVar("Batch")
Result = TypeVar("Result")


class Told(Generic[Batch, Result]):
    """Tells a collector's story from the results of an exporter."""

    def __init__(
        self, export: Callable[[Batch], Result], success: Result, collector: Collector
    ) -> None:
        self._export = export
        self._success = success
        self._collector = collector

    def __call__(self, batch: Batch) -> Result:
        """Exports; an exception, too, is a failure."""
        try:
            result = self._export(batch)
        except Exception:
            self._collector.refused()
            raise
        if result == self._success:
            self._collector.took()
        else:
            self._collector.refused()
        return result
