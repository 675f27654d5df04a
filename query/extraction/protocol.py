"""What a worker and the service say to each other: a line before each file and each answer."""

from query.extraction.model import MAX_CHARACTERS, MediaType

READY = b"ready\n"
"""A worker's first word."""
# JSON writes a character as up to 12 bytes.
_MAX_ANSWER_BYTES = 12 * MAX_CHARACTERS + 64 * 1024
_MORE, _LAST = b"more", b"last"


def job_line(media_type: MediaType, length: int) -> bytes:
    """The line before a file of so many bytes."""
    return f"{media_type} {length}\n".encode()


def read_job_line(line: bytes) -> tuple[MediaType, int]:
    """The media type and the length of the file that follows."""
    media_type, length = line.split()
    return MediaType(media_type.decode()), int(length)


def answer_line(length: int, *, last: bool) -> bytes:
    """The line before an answer of so many bytes; the worker ends after its `last`."""
    return b"%d %s\n" % (length, _LAST if last else _MORE)


def read_answer_line(line: bytes) -> tuple[int, bool]:
    """The length of the answer that follows, and whether it is the last; ValueError."""
    length, word = line.split()
    if not 0 <= int(length) <= _MAX_ANSWER_BYTES or word not in {_MORE, _LAST}:
        raise ValueError("no worker answers so")
    return int(length), word == _LAST
