"""What a status carries beside its code: the details, in ever smaller sets until one fits."""

import math
from collections.abc import Iterator

from cascada.config.v1 import configuration_trace_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from config_core.errors import CascadaError
from service_core.redaction import scrub

DOMAIN = "cascada"
MAX_MESSAGE_BYTES = 1024
MAX_VIOLATIONS = 20
MAX_VALUE_CHARACTERS = 200

COUNT_REASON = "MORE_VIOLATIONS"
"""The reason of the entry that counts the violations that were left out."""

_LONGEST_WAIT = 86_400.0

# gRPC escapes every other byte of a status message as %XX.
_UNESCAPED = frozenset(range(0x20, 0x7F)) - {ord("%")}


def candidates(
    error: CascadaError, trace: configuration_trace_pb2.ConfigurationTrace | None
) -> Iterator[list[Message]]:
    """Sets of details, each smaller than the one before; the last fits in any case."""
    facts = _Facts(error)
    shown = len(facts.violations)
    for compact in _compacted(trace):
        details = facts.details(shown)
        yield details if compact is None else [*details, compact]
    for fewer in range(shown - 1, 0, -1):
        yield facts.details(fewer)
    for characters in (100, 40, 10):
        yield facts.details(min(shown, 1), characters)
    yield [error_details_pb2.ErrorInfo(domain=DOMAIN, reason=error.code_reason.name)]


class _Facts:
    """What an error says, cleaned once for all sets of details."""

    def __init__(self, error: CascadaError) -> None:
        self.reason = error.code_reason.name
        self.metadata = {
            _text(key, MAX_VALUE_CHARACTERS): _text(value, MAX_VALUE_CHARACTERS)
            for key, value in error.metadata.items()
        }
        self.violations = [
            (
                _text(violation.field, MAX_VALUE_CHARACTERS),
                _text(violation.description, MAX_VALUE_CHARACTERS),
                violation.reason.name,
            )
            for violation in error.violations[:MAX_VIOLATIONS]
        ]
        # A RemoteError holds what the service before it could show; the metadata counts them all.
        self.total = max(len(error.violations), _count(error.metadata.get("violations")))
        if self.violations:
            self.metadata["violations"] = str(self.total)
        self.retry_after = error.retry_after

    def details(self, shown: int, characters: int = MAX_VALUE_CHARACTERS) -> list[Message]:
        """The details with some of the violations and with texts of a limited length."""
        info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=self.reason)
        for key, value in self.metadata.items():
            info.metadata[_cut(key, characters)] = _cut(value, characters)
        details: list[Message] = [info]
        if self.violations:
            details.append(self._bad_request(shown, characters))
        if self.retry_after is not None and 0 <= self.retry_after < math.inf:
            retry = error_details_pb2.RetryInfo()
            seconds = min(self.retry_after, _LONGEST_WAIT)
            retry.retry_delay.FromNanoseconds(round(seconds * 1e9))
            details.append(retry)
        return details

    def _bad_request(self, shown: int, characters: int) -> error_details_pb2.BadRequest:
        request = error_details_pb2.BadRequest()
        for field, description, reason in self.violations[:shown]:
            request.field_violations.add(
                field=_cut(field, characters),
                description=_cut(description, characters),
                reason=reason,
            )
        if self.total > shown:
            request.field_violations.add(
                description=f"and {self.total - shown} more", reason=COUNT_REASON
            )
        return request


def _compacted(
    trace: configuration_trace_pb2.ConfigurationTrace | None,
) -> Iterator[configuration_trace_pb2.ConfigurationTrace | None]:
    if trace is not None and trace.hops:
        yield trace
        smaller = configuration_trace_pb2.ConfigurationTrace()
        smaller.CopyFrom(trace)
        # Reaching into a configuration that is absent would make it present.
        configurations = [hop.effective for hop in smaller.hops if hop.HasField("effective")]
        for name in ("dropped", "sources"):
            for effective in configurations:
                effective.ClearField(name)
            yield smaller
    yield None


def sentence(text: str) -> str:
    """One line that takes at most 1 KB on the wire, where all but plain ASCII takes three bytes."""
    line = _text(" ".join(text[: 4 * MAX_MESSAGE_BYTES].split()), MAX_MESSAGE_BYTES)
    if _wire_bytes(line) <= MAX_MESSAGE_BYTES:
        return line
    room = MAX_MESSAGE_BYTES - _wire_bytes("…")
    for end, character in enumerate(line):
        room -= _wire_bytes(character)
        if room < 0:
            return line[:end] + "…"
    return line


def _wire_bytes(text: str) -> int:
    return sum(1 if byte in _UNESCAPED else 3 for byte in text.encode())


def _text(text: str, characters: int) -> str:
    """Text that protobuf can carry, without key-shaped pieces, cut to a number of characters."""
    # Longer texts are cut twice, so that cleaning takes no longer the longer they are.
    clean = scrub(text[: 4 * characters].encode("utf-8", "replace").decode())
    return _cut(clean, characters)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
