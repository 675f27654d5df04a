"""Exports spans and metrics over OTLP: whatever imports OpenTelemetry's SDK starts here.

Nothing waits for the collector: spans go to a queue that a thread empties, and metrics are
read and sent by another. What does not fit into the queue, or is not taken, is lost.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from service_core.telemetry.collector import Collector, Told
from service_core.telemetry.metrics import Metrics
from service_core.telemetry.otel_metrics import metrics_data
from service_core.telemetry.otel_spans import OtelSpans
from service_core.telemetry.otlp_settings import OtlpSettings
from service_core.telemetry.spans import Clean, Spans

_NAME = "cascada"

CLOSING_SECONDS = 3.0
"""How long a process that ends waits for a collector to take what is left."""


class Exporting:
    """A process's exports; closed at its end."""

    def __init__(
        self, settings: OtlpSettings, metrics: Metrics, clean: Clean, *, several: bool
    ) -> None:
        """`clean` takes secrets out of texts; `several` services run in the process."""
        self._settings = settings
        self._clean = clean
        self._several = several
        self._services: list[str] = []
        self._spans = _SpanExport(settings, metrics) if settings.traces else None
        self._metrics = (
            _MetricExport(settings, metrics, self._process_name) if settings.metrics else None
        )

    def spans(self, service: str) -> Spans | None:
        """What makes a service's spans; `None` where none are exported."""
        if service not in self._services:
            self._services.append(service)
        if self._spans is None:
            return None
        return OtelSpans(_resource(self._name(service)), self._spans.processor, self._clean)

    def _name(self, service: str) -> str:
        """The service.name: the operator's, for a service that runs alone."""
        name = self._settings.service_name
        return name if name and not self._several else f"{name or _NAME}-{service}"

    def _process_name(self) -> str:
        """That of what all services of the process have in common."""
        if len(self._services) == 1 and not self._several:
            return self._name(self._services[0])
        return self._settings.service_name or _NAME

    async def aclose(self) -> None:
        """Export what is left, as far as the collector takes it soon."""
        parts = [part for part in (self._spans, self._metrics) if part is not None]
        await asyncio.gather(*(asyncio.to_thread(part.close) for part in parts))


class _SpanExport:
    """The queue of the spans and its thread."""

    def __init__(self, settings: OtlpSettings, metrics: Metrics) -> None:
        self._exporter = OTLPSpanExporter(endpoint=settings.traces)
        watched = _WatchedSpans(self._exporter, Collector("traces", metrics.live))
        self.processor = BatchSpanProcessor(watched)

    def close(self) -> None:
        """Send what is left; an export that takes too long is given up."""
        patience = threading.Timer(CLOSING_SECONDS, self._exporter.shutdown)
        patience.start()
        self.processor.shutdown()  # type: ignore[no-untyped-call]
        patience.cancel()


class _WatchedSpans(SpanExporter):
    """An exporter whose collector is told of."""

    def __init__(self, exporter: OTLPSpanExporter, collector: Collector) -> None:
        self._exporter = exporter
        self._told = Told(exporter.export, SpanExportResult.SUCCESS, collector)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._told(spans)

    def shutdown(self) -> None:
        if not self._exporter._shutdown:  # noqa: SLF001 # it complains of a second time
            self._exporter.shutdown()


class _MetricExport:
    """The thread that sends the metrics, as the Prometheus port would show them."""

    def __init__(self, settings: OtlpSettings, metrics: Metrics, name: Callable[[], str]) -> None:
        self._metrics = metrics
        self._name = name
        self._interval = settings.interval_seconds
        self._exporter = OTLPMetricExporter(endpoint=settings.metrics)
        self._told = Told(
            self._exporter.export, MetricExportResult.SUCCESS, Collector("metrics", metrics.live)
        )
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the last values; an export that takes too long is given up."""
        self._ends.set()
        self._thread.join(CLOSING_SECONDS)
        self._exporter.shutdown()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ends.wait(self._interval):
            self._export()
        self._export()

    def _export(self) -> None:
        self._told(metrics_data(self._metrics.registry.collect(), _resource(self._name())))


def _resource(name: str) -> Resource:
    """What all spans and metrics of a service have in common."""
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {"service.name": name}
    with suppress(PackageNotFoundError):  # a checkout that was not installed
        own["service.version"] = version("cascada")
    if "service.namespace=" not in given:
        own["service.namespace"] = "cascada"
    return Resource.create(own)
