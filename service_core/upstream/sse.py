"""Reads server-sent events out of the bytes of a response, as they come."""

from dataclasses import dataclass

MAX_EVENT_BYTES = 8 * 1024 * 1024


class EventTooLargeError(Exception):
    """An event is larger than any answer has a reason to be."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: its name, "" where it has none, and its data."""

    name: str
    data: bytes


class SseDecoder:
    """Turns pieces of a body, cut anywhere, into whole events."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Give the events that end in this piece; EventTooLargeError."""
        lines = (self._line + piece).splitlines(keepends=True)
        # A line may go on in the next piece, and a CR may be the half of a CR LF.
        self._line = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        events = [event for line in lines if (event := self._take(line.rstrip(b"\r\n")))]
        if self._size + len(self._line) > self._max_event_bytes:
            raise EventTooLargeError
        return events

    def end(self) -> list[ServerSentEvent]:
        """Give the event that the end of the body completes, where the blank line was left out."""
        lines = (self._line.rstrip(b"\r\n"), b"")
        self._line = b""
        return [event for line in lines if (event := self._take(line))]

    def _take(self, line: bytes) -> ServerSentEvent | None:
        if not line:
            name, data = self._name, self._data
            self._name, self._data, self._size = "", [], 0
            return ServerSentEvent(name, b"\n".join(data)) if data else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None
