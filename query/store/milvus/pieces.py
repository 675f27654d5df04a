"""Text in pieces that fit into a field: Milvus takes 65,535 bytes of UTF-8 in one and no more."""

from collections.abc import Iterable

FIELD_BYTES = 65_535


def split(text: str, limit: int = FIELD_BYTES) -> list[str]:
    """The text in pieces of at most `limit` bytes, cut between characters; at least one piece."""
    data = text.encode()
    pieces: list[str] = []
    start = 0
    while len(data) - start > limit:
        end = start + limit
        while data[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        pieces.append(data[start:end].decode())
        start = end
    pieces.append(data[start:].decode())
    return pieces


def lines(words: Iterable[str], limit: int = FIELD_BYTES) -> list[str]:
    """ASCII words joined by spaces into as few lines of at most `limit` bytes as hold them."""
    found: list[str] = []
    line: list[str] = []
    size = 0
    for word in words:
        if size + len(word) > limit:
            found.append(" ".join(line))
            line, size = [], 0
        line.append(word)
        size += len(word) + 1
    return [*found, " ".join(line)]
