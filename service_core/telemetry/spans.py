"""What a service knows of spans; where there is no collector, nobody makes any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from service_core.telemetry.w3c import TraceContext

AttributeValue = str | bool | int | float | tuple[str, ...]

Clean = Callable[[str], str]
"""Takes the secrets out of a text."""


class SpanKind(Enum):
    """Which side of a call a span is."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class SpanStart:
    """How a span begins."""

    name: str
    kind: SpanKind
    parent: TraceContext | None = None
    subject: str = ""
    """What stands behind the name; it may come from outside."""
    trace_id: str = ""
    """The id of a trace that begins here; empty has one made."""
    began_ns: int | None = None
    """Time since the epoch; `None` is now."""


class Span(Protocol):
    """A span that runs."""

    @property
    def context(self) -> TraceContext:
        """Its place in the trace."""
        ...

    @property
    def is_recording(self) -> bool:
        """Whether anybody will see it."""
        ...

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add attributes in which nobody outside has a say."""
        ...

    def set_outside(self, attributes: Mapping[str, str]) -> None:
        """Add texts that come from outside: without secrets, cut, and not at all where empty."""
        ...

    def fail(self, reason: str) -> None:
        """Say that what it stands for has failed."""
        ...

    def end(self) -> None:
        """End it, once."""
        ...


class Spans(Protocol):
    """Makes the spans of one service."""

    def start(self, start: SpanStart) -> Span:
        """Begin a span."""
        ...
