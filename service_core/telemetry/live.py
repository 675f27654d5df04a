"""Gauges that are read at the moment when they are asked for."""

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Labelled = tuple[tuple[str, ...], float]
"""The values of a gauge's labels, and its value."""


class LiveGauges(Collector):
    """Gauges that are read at the moment when they are asked for, from whoever has the values."""

    def __init__(self) -> None:
        self._gauges: dict[
            str, tuple[str, tuple[str, ...], list[Callable[[], Iterable[Labelled]]]]
        ] = {}

    def add(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...],
        read: Callable[[], Iterable[Labelled]],
    ) -> None:
        """Add a source of values; several may feed one gauge."""
        self._gauges.setdefault(name, (documentation, labels, []))[2].append(read)

    def collect(self) -> Iterable[Metric]:
        """The gauges with the values of all their sources."""
        for name, (documentation, labels, sources) in tuple(self._gauges.items()):
            family = GaugeMetricFamily(name, documentation, labels=labels)
            for read in sources:
                for values, number in read():
                    family.add_metric(values, number)
            yield family
