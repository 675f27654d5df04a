"""The metrics of a process: one registry, created by the app and handed to whoever counts."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_log = structlog.stdlib.get_logger(__name__)

# Seconds: from a health-like call to the longest answers.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


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
        for name, (documentation, labels, sources) in self._gauges.items():
            family = GaugeMetricFamily(name, documentation, labels=labels)
            for read in sources:
                for values, number in read():
                    family.add_metric(values, number)
            yield family


class Metrics:
    """A registry with the metrics that every service has; others register theirs in `registry`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "cascada_requests",
            "Requests that ended, by their gRPC code and the reason of the error.",
            ("service", "method", "code", "reason"),
            registry=self.registry,
        )
        self.duration = Histogram(
            "cascada_request_duration_seconds",
            "Time from a request's arrival to its last message.",
            ("service", "method", "code"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "cascada_requests_in_flight",
            "Requests that run.",
            ("service", "method"),
            registry=self.registry,
        )
        self.attempts = Counter(
            "cascada_upstream_attempts",
            "Calls to providers, and alternatives passed over, by how they ended.",
            ("service", "provider", "endpoint", "outcome", "reason"),
            registry=self.registry,
        )
        self.live = LiveGauges()
        self.registry.register(self.live)


class MetricsPort:
    """An open Prometheus port."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_port

    async def close(self) -> None:
        """Stops answering and frees the port."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start_metrics_port(
    registry: CollectorRegistry, host: str, port: int | None
) -> MetricsPort | None:
    """Serves the registry to Prometheus over HTTP, in a thread of its own.

    Args:
        registry: What is served.
        host: The address to listen on.
        port: None serves nothing; 0 takes a free port, as for gRPC.

    Returns:
        The open port; None where none was asked for or the port is taken. The second of several
        services on one machine finds the default port taken: it answers requests all the same, and
        a warning says that its metrics need a port of their own.
    """
    if port is None:
        return None
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        _log.warning(
            "metrics_port_unavailable",
            host=host,
            port=port,
            error=error.strerror or type(error).__name__,
            advice="the metrics of this process are not served; give it a port of its own",
        )
        return None
    return MetricsPort(server, thread)
