"""Lines of the log: what in them is scrubbed, how they are written.

Most lines are those of requests, one or two each, so that what they cost counts: words of our own
are known and not looked through, the rest is looked through in one piece, and only a line that may
hold a secret is taken apart.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import grpc
import msgspec
import structlog
from google.protobuf.message import Message

from config_core.errors import Reason
from service_core.record import Record, current_record
from service_core.redaction import is_suspect, redact, scrub

LONGEST_ID = 128
"""How much of an id that a caller gives goes into a line."""

_own = {"", "request", "audit", "default"}
_own.update(code.name for code in grpc.StatusCode)
_own.update(reason.name for reason in Reason)

Event = MutableMapping[str, Any]
Secrets = Callable[[], Iterable[str]]
Render = Callable[[logging.Logger, str, Event], str]


def own_texts(*texts: str) -> None:
    """Say that these are words of our own: a value that equals one of them tells no secret."""
    _own.update(texts)


def add_ids(_logger: object, _method: str, event: Event) -> Event:
    """Add tenant, trace and span of the request that runs, where the event names none."""
    record = None if "trace_id" in event else current_record()
    if record is not None:
        for name, value in ids_of_record(record).items():
            event.setdefault(name, value)
    return event


def ids_of_record(record: Record) -> dict[str, str]:
    """The ids of a request, as far as they are known."""
    ids: dict[str, str] = {}
    trace = record.trace
    if record.tenant:
        ids["tenant"] = record.tenant[:LONGEST_ID]
    place = None if trace is None else trace.place
    if trace is None or place is None:
        if record.trace_id:
            ids["trace_id"] = record.trace_id[:LONGEST_ID]
        return ids
    ids["trace_id"] = place.trace_id
    if trace.span is not None:
        ids["span_id"] = place.span_id
    if trace.given not in {"", place.trace_id}:
        ids["cascada.trace_id"] = trace.given[:LONGEST_ID]
    return ids


class Scrubber:
    """Removes secrets from everything in an event."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """The event without them."""
        texts: list[str] = []
        # Names with an underscore are structlog's own, for the formatter.
        values = [value for key, value in event.items() if not key.startswith("_")]
        if not _gathered(values, texts):
            return self._taken_apart(event)
        # A NUL is in no secret and in no shape of one: nothing is found across two values.
        if texts and is_suspect("\0".join(texts), self._secrets()):
            return self._taken_apart(event)
        return event

    def _taken_apart(self, event: Event) -> Event:
        known = tuple(self._secrets())
        return {
            key: value if key.startswith("_") else _clean(value, known)
            for key, value in event.items()
        }


_PLAIN = frozenset({int, float, bool, type(None)})
_MANY = frozenset({list, tuple})


def _gathered(values: Iterable[Any], texts: list[str]) -> bool:
    """Whether all values are plain, what they hold of texts gathered."""
    for value in values:
        kind = type(value)
        if kind is str:
            if value not in _own:
                texts.append(value)
        elif kind is dict:
            if not (_gathered(value, texts) and _gathered(value.values(), texts)):
                return False
        elif kind in _MANY:
            if not _gathered(value, texts):
                return False
        elif kind not in _PLAIN:
            return False
    return True


def _clean(value: Any, secrets: tuple[str, ...]) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return scrub(value, secrets)
    if isinstance(value, Message):
        return _clean(redact(value), secrets)
    if isinstance(value, Mapping):
        return {scrub(str(key), secrets): _clean(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, secrets) for item in value]
    return scrub(str(value), secrets)


def to_json(_logger: object, _method: str, event: Event) -> str:
    """The event as a line of JSON."""
    try:
        return msgspec.json.encode(event).decode()
    except (TypeError, ValueError, OverflowError):
        # Halves of surrogate pairs, numbers beyond 64 bits and whatever else JSON has no form for.
        return json.dumps(event, ensure_ascii=False, default=str)


class Sink:
    """The last step of an event of ours: straight to the stream where only our handler listens.

    The standard library's way, with a record for every line, costs as much as all the rest. It is
    taken where somebody else listens too.
    """

    def __init__(self, handler: "logging.StreamHandler[TextIO]", render: Render) -> None:
        self._handler = handler
        self._render = render

    def __call__(self, logger: logging.Logger, method: str, event: Event) -> Any:
        """Writes the line, and ends there; or hands the event to the standard library."""
        if not self._listens_alone(logger):
            return structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, method, event)
        line = self._render(logger, method, event) + "\n"
        handler = self._handler
        handler.acquire()
        try:
            # A stream that is gone, or can't show a character, must not fail a request.
            with suppress(OSError, ValueError):
                handler.stream.write(line)
                handler.stream.flush()
        finally:
            handler.release()
        raise structlog.DropEvent

    def _listens_alone(self, logger: logging.Logger) -> bool:
        found: logging.Logger | None = logger
        while found is not None:
            if found.parent is None:
                return len(found.handlers) == 1 and found.handlers[0] is self._handler
            if found.handlers or not found.propagate:
                return False
            found = found.parent
        return False
