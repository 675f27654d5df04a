"""A real collector, as far as a test needs one: an OTLP server that stores what it gets.

async with OtlpServer() as collector:
    ... OTEL_EXPORTER_OTLP_ENDPOINT = collector.url ...
    spans = await collector.spans(5)
    assert spans[0].attributes["rpc.method"] == "Embed"
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import (
    metrics_service_pb2,
    metrics_service_pb2_grpc,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

_WAIT_SECONDS = 20.0

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it arrived."""

    service: str
    """service.name of its resource."""
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    is_error: bool
    begins: int
    """Nanoseconds since the epoch."""
    ends: int


class OtlpServer:
    """The server, on a free port of the loopback address, in the test's own event loop."""

    def __init__(self, delay: float = 0.0) -> None:
        """`delay` has it take that long for each export, in seconds."""
        self.delay = delay
        self.bodies: list[bytes] = []
        """Every message, as its bytes."""
        self.headers: list[Mapping[str, str | bytes]] = []
        self.received: list[ReceivedSpan] = []
        self.metrics: dict[tuple[str, str], metrics_pb2.Metric] = {}
        """The last state of each metric, by the service.name and its own."""
        self._came = asyncio.Condition()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._port = 0

    async def __aenter__(self) -> Self:
        # Typed as of a server without an event loop, or not at all.
        add_traces: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        add_metrics: Any = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
        add_traces(_Traces(self), self._server)
        add_metrics(_Metrics(self), self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT takes."""
        return f"http://127.0.0.1:{self._port}"

    async def spans(self, count: int, trace_id: str = "") -> list[ReceivedSpan]:
        """Wait until so many spans have come, of one trace or of all, and give those that have."""
        await self._until(lambda: len(self.of_trace(trace_id)) >= count)
        return self.of_trace(trace_id)

    def of_trace(self, trace_id: str) -> list[ReceivedSpan]:
        """The spans of a trace that have come; of all where none is named."""
        return [span for span in self.received if trace_id in {"", span.trace_id}]

    async def metric(
        self, service: str, name: str, is_there: Callable[[metrics_pb2.Metric], bool]
    ) -> metrics_pb2.Metric:
        """Wait until a service's metric is in a state."""
        key = (service, name)
        await self._until(lambda: key in self.metrics and is_there(self.metrics[key]))
        return self.metrics[key]

    async def take(self, body: bytes, context: _Context) -> None:
        """Store what every export has."""
        await asyncio.sleep(self.delay)
        self.bodies.append(body)
        self.headers.append(dict(context.invocation_metadata() or ()))

    async def changed(self) -> None:
        """Wake whoever waits."""
        async with self._came:
            self._came.notify_all()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(_WAIT_SECONDS), self._came:
            await self._came.wait_for(is_so)


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, owner: OtlpServer) -> None:
        self._owner = owner

    async def Export(  # noqa: N802 # the name is the contract's
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: _Context
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        await self._owner.take(request.SerializeToString(), context)
        for resource in request.resource_spans:
            service = str(_plain(resource.resource.attributes).get("service.name", ""))
            for scope in resource.scope_spans:
                self._owner.received += [_span(service, span) for span in scope.spans]
        await self._owner.changed()
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, owner: OtlpServer) -> None:
        self._owner = owner

    async def Export(  # noqa: N802 # the name is the contract's
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: _Context
    ) -> metrics_service_pb2.ExportMetricsServiceResponse:
        await self._owner.take(request.SerializeToString(), context)
        for resource in request.resource_metrics:
            service = str(_plain(resource.resource.attributes).get("service.name", ""))
            for scope in resource.scope_metrics:
                self._owner.metrics |= {(service, metric.name): metric for metric in scope.metrics}
        await self._owner.changed()
        return metrics_service_pb2.ExportMetricsServiceResponse()


def _span(service: str, span: trace_pb2.Span) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_plain(span.attributes),
        is_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        begins=span.start_time_unix_nano,
        ends=span.end_time_unix_nano,
    )


def _plain(pairs: Iterable[common_pb2.KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(entry) for entry in value.array_value.values]
    return getattr(value, kind) if kind else None
