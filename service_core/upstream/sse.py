"""Reads server-sent events out of the bytes of a response, as they come."""

from dataclasses import dataclass

MAX_EVENT_BYTES = 8 * 1024 * 1024
_MARK = b"\xef\xbb\xbf"
"""The byte order mark that a stream may begin with."""


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
        self._line = bytearray()
        self._is_first = True
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Give the events that end in this piece; EventTooLargeError."""
        self._line += piece
        events = []
        if b"\n" in piece or b"\r" in self._line[-len(piece) - 1 :]:
            lines = bytes(self._line).splitlines(keepends=True)
            # A line may go on in the next piece, and a CR may be the half of a CR LF.
            rest = lines.pop() if not lines[-1].endswith(b"\n") else b""
            self._line = bytearray(rest)
            events = [event for line in lines if (event := self._take(line.rstrip(b"\r\n")))]
        if self._size + len(self._line) > self._max_event_bytes:
            raise EventTooLargeError
        return events

    def end(self) -> list[ServerSentEvent]:
        """Give the event that the end of the body completes, where the blank line was left out."""
        lines = (bytes(self._line).rstrip(b"\r\n"), b"")
        self._line.clear()
        return [event for line in lines if (event := self._take(line))]

    def _take(self, line: bytes) -> ServerSentEvent | None:
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(_MARK)
        if not line:
            name, data = self._name, self._data
            self._name, self._data, self._size = "", [], 0
            return ServerSentEvent(name, b"\n".join(data)) if data else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None
