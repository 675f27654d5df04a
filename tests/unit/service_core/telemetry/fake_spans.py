"""Spans that stay where they were made, for tests of who makes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service_core.telemetry.spans import AttributeValue, Span, SpanStart
from service_core.telemetry.w3c import TraceContext


@dataclass
class FakeSpan:
    """A span, and everything that was said of it."""

    start: SpanStart
    context: TraceContext
    is_recording: bool = True
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    failure: str = ""
    ended: int = 0

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        self.attributes.update(attributes)

    def set_outside(self, attributes: Mapping[str, str]) -> None:
        self.attributes.update({name: text for name, text in attributes.items() if text})

    def fail(self, reason: str) -> None:
        self.failure = reason

    def end(self) -> None:
        self.ended += 1


@dataclass
class FakeSpans:
    """Makes spans with numbers for ids."""

    made: list[FakeSpan] = field(default_factory=list)

    def start(self, start: SpanStart) -> Span:
        number = len(self.made) + 1
        trace_id = start.trace_id or (start.parent.trace_id if start.parent else f"{number:032x}")
        self.made.append(FakeSpan(start, TraceContext(trace_id, f"{number:016x}", 1)))
        return self.made[-1]
