"""Spans of OpenTelemetry's SDK, as the services know them."""

import random
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind as OtelKind

from service_core.telemetry.spans import AttributeValue, Clean, Span, SpanKind, SpanStart
from service_core.telemetry.w3c import TraceContext

SCOPE = "cascada"
_LONGEST = 256

_KINDS = {SpanKind.SERVER: OtelKind.SERVER, SpanKind.CLIENT: OtelKind.CLIENT}


class _Ids(IdGenerator):
    """Makes ids; that of the next trace may have been chosen before."""

    def __init__(self) -> None:
        self.next_trace = ""

    def generate_span_id(self) -> int:
        return random.getrandbits(64) or 1  # ids are no secrets

    def generate_trace_id(self) -> int:
        chosen, self.next_trace = self.next_trace, ""
        return int(chosen, 16) if chosen else random.getrandbits(128) or 1


class OtelSpans:
    """Makes the spans of one service, on the event loop."""

    def __init__(self, resource: Resource, processor: SpanProcessor, clean: Clean) -> None:
        self._ids = _Ids()
        provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(processor)
        self._tracer: Tracer = provider.get_tracer(SCOPE)
        self._clean = clean

    def start(self, start: SpanStart) -> Span:
        """Begin a span."""
        name = start.name
        if start.subject:
            name = f"{name} {self._clean(start.subject)[:_LONGEST]}"
        self._ids.next_trace = start.trace_id
        span = self._tracer.start_span(
            name,
            context=None if start.parent is None else _remote(start.parent),
            kind=_KINDS[start.kind],
            start_time=start.began_ns,
        )
        return _Span(span, self._clean)


class _Span:
    """A span that runs."""

    def __init__(self, span: OtelSpan, clean: Clean) -> None:
        self._span = span
        self._clean = clean
        found = span.get_span_context()
        self.context = TraceContext(
            f"{found.trace_id:032x}",
            f"{found.span_id:016x}",
            int(found.trace_flags),
            found.trace_state.to_header(),
        )
        self.is_recording = span.is_recording()

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._span.set_attributes(attributes)

    def set_outside(self, attributes: Mapping[str, str]) -> None:
        self._span.set_attributes(
            {name: self._clean(text)[:_LONGEST] for name, text in attributes.items() if text}
        )

    def fail(self, reason: str) -> None:
        self._span.set_attribute("error.type", reason)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()


def _remote(parent: TraceContext) -> Context:
    state = TraceState.from_header([parent.state]) if parent.state else None
    place = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=state,
    )
    return set_span_in_context(NonRecordingSpan(place))
