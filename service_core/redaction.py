"""Keeps secrets out of logs: masks marked fields of messages and key-shaped pieces of text.

`debug_redact` in a proto is a marker only: str(), repr() and MessageToJson print the field all the
same. Whatever of a message goes to a log goes through `redact`, and every text through `scrub`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MASK = "[redacted]"

# A shorter one is more likely a word of the text than a key.
_SHORTEST_SECRET = 6

_SENSITIVE_NAME = re.compile(
    r"api[_-]?key|secret|passw|credential|authorization|bearer|(access|auth|refresh)[_-]?token",
    re.IGNORECASE,
)

# By a piece in lower case without which a shape does not occur: most texts have none of them. The
# first group of each shape is kept, the rest is masked. None may take longer than in proportion to
# the text, whatever the text: it can be a caller's.
_KEY_SHAPES = (
    ("bearer", re.compile(r"(\bbearer\s+)(?=\S{0,60}[0-9])[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)),
    (
        "author",
        re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?basic\s+)[A-Za-z0-9+/=]+", re.IGNORECASE),
    ),
    ("sk-", re.compile(r"((?<![A-Za-z0-9]))sk-(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{16,}")),
    ("gsk_", re.compile(r"((?<![A-Za-z0-9]))gsk_[A-Za-z0-9_-]{8,}")),
    ("cascada_", re.compile(r"((?<![A-Za-z0-9]))cascada_[A-Za-z0-9_-]{32,}")),
    (
        "eyj",
        re.compile(r"((?<![A-Za-z0-9_-]))eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]{4,}){1,2}"),
    ),
    ("key", re.compile(r"(api[_-]?key['\"]?\s*=\s*['\"]?)[^\s'\",;&)}]+", re.IGNORECASE)),
    ("key", re.compile(r"(api[_-]?key['\"]?\s*:\s*['\"])[^'\"]+", re.IGNORECASE)),
    ("key", re.compile(r"(api key provided:\s*)[^\s'\",;.)}]+", re.IGNORECASE)),
    ("://", re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/@'\"]+(?=@)", re.IGNORECASE)),
)

_PIECES = tuple(dict.fromkeys(piece for piece, _ in _KEY_SHAPES))


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Gives `text` without the given secrets and without anything that is shaped like a key.

    Args:
        text: Any text; the longest secrets are removed first, so that none is left in part.
        secrets: Known values; those under 6 characters are ignored.
    """
    found = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET and secret in text]
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, MASK)
    lowered = text.lower()
    for piece, shape in _KEY_SHAPES:
        if piece in lowered:
            text = shape.sub(rf"\g<1>{MASK}", text)
    return text


def is_suspect(text: str, secrets: Iterable[str] = ()) -> bool:
    """Whether `scrub` might change a text: by far the cheaper question."""
    for secret in secrets:
        if secret in text and len(secret) >= _SHORTEST_SECRET:
            return True
    lowered = text.lower()
    for piece in _PIECES:  # noqa: SIM110 # a generator takes twice the time
        if piece in lowered:
            return True
    return False


def redact(message: Message) -> dict[str, Any]:
    """Gives the set fields of a message as a dict for logs, without what is marked `debug_redact`.

    Entries of maps, google.protobuf.Struct included, whose key names a credential are masked too;
    bytes are given by their length.
    """
    return {
        field.name: MASK if _is_marked(field) else _field_value(field, value)
        for field, value in message.ListFields()
    }


def _is_marked(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().debug_redact)


def _field_value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _entry(str(key), _at(value, key)) for key in value}
    if field.is_repeated and isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return _plain(value)


def _at(values: Mapping[Any, Any], key: Any) -> Any:
    """An entry; None for one of a Struct that was sent without a value, which gives none."""
    with suppress(ValueError):
        return values[key]
    return None


def _entry(key: str, value: Any) -> Any:
    # A number under such a name says something about a key, such as where it came from.
    if _SENSITIVE_NAME.search(key) and not isinstance(value, int | float):
        return MASK
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return redact(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return scrub(value) if isinstance(value, str) else value
