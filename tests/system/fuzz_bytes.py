"""Damage to messages on the wire: what a broken, foreign or hostile client may send."""

import random
from collections.abc import Callable, Sequence

_NESTED = 120
"""Deeper than parsers go."""


def damaged(chance: random.Random, data: bytes) -> bytes:
    """The bytes of a message after one to three kinds of damage."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = chance.choice(KINDS)(chance, data)
    return data


def _flipped(chance: random.Random, data: bytes) -> bytes:
    """Some bits are others."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8)) if data else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: random.Random, data: bytes) -> bytes:
    """The end is missing."""
    return data[: chance.randrange(len(data) + 1)]


def _dropped(chance: random.Random, data: bytes) -> bytes:
    """A part in the middle is missing."""
    start, end = _part(chance, data)
    return data[:start] + data[end:]


def _repeated(chance: random.Random, data: bytes) -> bytes:
    """A part comes several times, or elsewhere once more."""
    start, end = _part(chance, data)
    place = chance.choice((end, chance.randrange(len(data) + 1)))
    return data[:place] + data[start:end] * chance.choice((1, 2, 16)) + data[place:]


def _inserted(chance: random.Random, data: bytes) -> bytes:
    """Bytes of chance stand among the others."""
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.randrange(1, 24)) + data[place:]


def _replaced(chance: random.Random, data: bytes) -> bytes:
    """It is another thing altogether."""
    return chance.randbytes(chance.randrange(2 * min(len(data), 256) + 1))


def _doubled(_: random.Random, data: bytes) -> bytes:
    """The message comes twice in one: fields are set again and lists grow."""
    return data + data


def _ended_badly(chance: random.Random, data: bytes) -> bytes:
    """At the end stands what a parser may stumble over."""
    return data + chance.choice(_ENDINGS)


def _part(chance: random.Random, data: bytes) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 2, 8, 64)))


def _nested(times: int) -> bytes:
    """Field 5 in field 5 in field 5, each a message of its own."""
    data = b""
    for _ in range(times):
        length = len(data)
        size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        data = b"\x2a" + size + data
    return data


_ENDINGS = (
    b"\x0a\xff\xff\xff\xff\x0f",  # four gigabytes are announced
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length below zero
    b"\xff" * 11,  # a number without end
    b"\x0b" * 200,  # groups that are never closed
    b"\x0c",  # the end of none
    b"\x00\x00",  # field 0
    b"\x12\x02\xc3\x28",  # text that is not UTF-8
    b"\x12\x03\xed\xa0\x80",  # half a surrogate pair
    b"\xfa\xff\xff\xff\x0f\x00",  # a field of the highest number
    _nested(_NESTED),
)

KINDS: Sequence[Callable[[random.Random, bytes], bytes]] = (
    _flipped,
    _cut,
    _dropped,
    _repeated,
    _inserted,
    _replaced,
    _doubled,
    _ended_badly,
)
