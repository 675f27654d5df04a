"""The trace context of W3C: `traceparent` and `tracestate`, read from metadata and written."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

Metadata = tuple[tuple[str, str | bytes], ...]

SAMPLED = 0x01
_KNOWN_FLAGS = 0x03
"""Sampled, and made at random: what later versions may add is not passed on."""

_PARENT = "traceparent"
_STATE = "tracestate"
_MAX_STATE = 512
_MAX_MEMBERS = 32

_TRACE_PARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace, under which the next one goes."""

    trace_id: str
    """32 digits in hexadecimal, in lower case."""
    span_id: str
    """16 of them."""
    flags: int = 0
    state: str = ""
    """What other systems have noted, as it came."""

    @property
    def is_sampled(self) -> bool:
        """Whether the trace is recorded."""
        return bool(self.flags & SAMPLED)

    def to_metadata(self) -> Metadata:
        """The metadata of a call."""
        parent = f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"
        return ((_PARENT, parent), (_STATE, self.state)) if self.state else ((_PARENT, parent),)


def read_trace_context(metadata: Iterable[tuple[str, str | bytes]] | None) -> TraceContext | None:
    """The context that a call brings; `None` for none, and for one that is not valid."""
    parents: list[str] = []
    states: list[str] = []
    for key, value in metadata or ():
        if key == _PARENT:
            parents.append(value if isinstance(value, str) else "")
        elif key == _STATE and isinstance(value, str):
            states.append(value)
    if len(parents) != 1:
        return None
    found = _TRACE_PARENT.fullmatch(parents[0])
    if found is None or found["version"] == "ff":
        return None
    if found["more"] is not None and found["version"] == "00":
        return None
    if found["trace"] == _NO_TRACE or found["parent"] == _NO_SPAN:
        return None
    flags = int(found["flags"], 16) & _KNOWN_FLAGS
    return TraceContext(found["trace"], found["parent"], flags, _state(states))


def is_trace_id(text: str) -> bool:
    """Whether a text is a trace id as W3C has them."""
    return _TRACE_ID.fullmatch(text) is not None and text != _NO_TRACE


def _state(values: list[str]) -> str:
    """The state, its parts in one; nothing of one that is not valid."""
    state = ",".join(value.strip() for value in values if value.strip())
    members = [member for member in state.split(",") if member.strip()]
    fits = len(state) <= _MAX_STATE and len(members) <= _MAX_MEMBERS
    whole = all("=" in member for member in members) and state.isascii() and state.isprintable()
    return state if fits and whole else ""
