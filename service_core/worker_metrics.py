"""One page of metrics for several workers: each value with the number of its worker."""

import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

LABEL = "worker"

_SECONDS = 2.0
_AT_ONCE = 16

_log = structlog.stdlib.get_logger(__name__)


class WorkerMetrics(Collector):
    """Collects the workers' pages at the moment when it is asked."""

    def __init__(self, ports: Callable[[], Mapping[int, int]], replaced: Callable[[], int]) -> None:
        """`ports` gives the workers that serve, each with the port of its page on this machine."""
        self._ports = ports
        self._replaced = replaced

    def describe(self) -> Iterable[Metric]:
        """Nothing: what the workers have is known when they are asked."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The workers' metrics, and how many workers there are."""
        ports = dict(self._ports())
        yield GaugeMetricFamily("cascada_workers", "Workers that serve.", value=len(ports))
        yield CounterMetricFamily(
            "cascada_workers_replaced",
            "Workers that ended and were replaced.",
            value=self._replaced(),
        )
        merged: dict[str, Metric] = {}
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            pages = threads.map(_page, ports.values())
        for number, page in zip(ports, pages, strict=True):
            for family in text_string_to_metric_families(page):
                own = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, LABEL: str(number)}
                    own.add_sample(sample.name, labels, sample.value)
        yield from merged.values()


def _page(port: int) -> str:
    """A worker's page; empty if it does not answer."""
    try:
        with _direct.open(f"http://127.0.0.1:{port}/metrics", timeout=_SECONDS) as response:
            text: str = response.read().decode()
            return text
    except OSError as error:
        _log.warning("a worker's metrics can't be read", error=type(error).__name__)
        return ""


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy from the environment has no way to this machine."""
