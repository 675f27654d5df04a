"""Metrics of Prometheus as OTLP has them: one registry, counted once, read in two ways."""

import time
from collections.abc import Iterable, Iterator

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family
from prometheus_client.core import Sample

_SCOPE = InstrumentationScope("cascada")
_BEGAN = time.time_ns()

_NAMES = {
    "gen_ai_client_operation_duration_seconds": "gen_ai.client.operation.duration",
    "gen_ai_client_operation_time_to_first_chunk_seconds": (
        "gen_ai.client.operation.time_to_first_chunk"
    ),
    "gen_ai_client_token_usage": "gen_ai.client.token.usage",
}
"""Names of conventions, which Prometheus can't have as they are; all others stay."""

_LABELS = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_token_type": "gen_ai.token.type",
    "error_type": "error.type",
}


def metrics_data(families: Iterable[Family], resource: Resource) -> MetricsData:
    """What a registry holds now."""
    now = time.time_ns()
    metrics = [metric for family in families for metric in _metric(family, now)]
    scope = ScopeMetrics(_SCOPE, metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, now: int) -> Iterator[Metric]:
    name = _NAMES.get(family.name, family.name)
    if family.type == "histogram":
        data: Histogram | Sum | Gauge = Histogram(
            list(_distributions(family.samples, now)), AggregationTemporality.CUMULATIVE
        )
    elif family.type == "counter":
        name = f"{name}_total" if name == family.name else name
        points = [
            _point(sample, now) for sample in family.samples if sample.name.endswith("_total")
        ]
        data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
    else:
        data = Gauge([_point(sample, now) for sample in family.samples])
    yield Metric(name, family.documentation, _unit(family.name), data)


def _unit(name: str) -> str:
    if name.endswith("_seconds"):
        return "s"
    if name.endswith("_bytes"):
        return "By"
    return "{token}" if name == "gen_ai_client_token_usage" else ""


def _point(sample: Sample, now: int) -> NumberDataPoint:
    return NumberDataPoint(_attributes(sample.labels), _BEGAN, now, sample.value)


def _distributions(samples: Iterable[Sample], now: int) -> Iterator[HistogramDataPoint]:
    """The points of a histogram, whose buckets Prometheus counts up and OTLP does not."""
    found: dict[tuple[tuple[str, str], ...], dict[str, list[tuple[float, float]]]] = {}
    for sample in samples:
        labels = {key: value for key, value in sample.labels.items() if key != "le"}
        entry = found.setdefault(tuple(labels.items()), {})
        part = sample.name.rpartition("_")[2]
        entry.setdefault(part, []).append((float(sample.labels.get("le", "0")), sample.value))
    for labels_of, parts in found.items():
        buckets = sorted(parts["bucket"])
        counts = [int(count) for _, count in buckets]
        yield HistogramDataPoint(
            attributes=_attributes(dict(labels_of)),
            start_time_unix_nano=_BEGAN,
            time_unix_nano=now,
            count=counts[-1],
            sum=parts["sum"][0][1],
            bucket_counts=[
                count - before for before, count in zip([0, *counts], counts, strict=False)
            ],
            explicit_bounds=[bound for bound, _ in buckets[:-1]],
            # The least and the most are not known.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )


def _attributes(labels: dict[str, str]) -> dict[str, str]:
    """Labels under their conventions' names, without those that say nothing."""
    return {_LABELS.get(name, name): value for name, value in labels.items() if value}
