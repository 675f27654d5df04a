"""One request's place in its trace: what it came with, its span here, what goes on with it.

A caller may send W3C's `traceparent`, an id in RequestContext.trace_id, both or neither. The first
is followed; an id that has W3C's form becomes the trace's own where there is no `traceparent`; any
other text stays the caller's and is shown beside the trace's id.
"""

import random
import time
from dataclasses import dataclass, field

from service_core.telemetry.spans import Span, SpanKind, Spans, SpanStart
from service_core.telemetry.w3c import Metadata, TraceContext, is_trace_id


@dataclass(slots=True)
class RequestTrace:
    """Begins with the call; the span waits for the request, which may name the trace."""

    method: str
    """Such as `/cascada.query.v1.QueryService/Query`."""
    incoming: TraceContext | None = None
    spans: Spans | None = None
    span: Span | None = None
    given: str = ""
    """The id in the request's context."""
    _began_ns: int = field(default_factory=time.time_ns)
    _outgoing: Metadata | None = None

    def begin(self, given: str) -> str:
        """Begin the span, once; the id by which the request is known from here on."""
        self.given = given
        if self.spans is not None and self.span is None:
            self.span = self.spans.start(
                SpanStart(
                    self.method.removeprefix("/"),
                    SpanKind.SERVER,
                    parent=self.incoming,
                    trace_id=given if self.incoming is None and is_trace_id(given) else "",
                    began_ns=self._began_ns,
                )
            )
        return given or self.trace_id or new_trace_id()

    @property
    def place(self) -> TraceContext | None:
        """Where what comes next goes: under the span, else under what came."""
        return self.incoming if self.span is None else self.span.context

    @property
    def trace_id(self) -> str:
        """The id of the trace; "" where there is none."""
        place = self.place
        return "" if place is None else place.trace_id

    @property
    def outgoing(self) -> Metadata:
        """What tells the next service its place."""
        if self._outgoing is None:
            place = self.place
            self._outgoing = () if place is None else place.to_metadata()
        return self._outgoing


def new_trace_id() -> str:
    """An id for a request that came with none; it is no secret."""
    return f"{random.getrandbits(128) or 1:032x}"
