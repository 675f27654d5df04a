"""Names as Milvus sees them: letters and digits that stand for any text, and need no quoting.

No text of a caller ever stands in an expression. What is compared as a whole becomes a hash, what
is listed in order becomes the hexadecimal digits of its UTF-8, which sort as its characters do.
`literal` lets nothing else through.
"""

import math
import re
from collections.abc import Iterable
from hashlib import sha256

_SAFE = re.compile(r"[0-9a-z]*", re.ASCII)


def tenant_key(tenant: str) -> str:
    """What stands for a tenant, the partition key: the same for the same name alone."""
    return sha256(tenant.encode()).hexdigest()


def short_key(text: str) -> str:
    """A hash for what is looked for and then compared as it is."""
    return sha256(text.encode()).hexdigest()[:32]


def ordered_key(text: str) -> str:
    """Digits that sort as the texts they stand for do by code point."""
    return text.encode().hex()


def text_of(key: str) -> str:
    """The text that `ordered_key` made the key from."""
    return bytes.fromhex(key).decode()


def literal(key: str) -> str:
    """The key as a string of Milvus' expression language.

    Raises ValueError for anything but digits and small letters, which quoting could get wrong.
    """
    if not _SAFE.fullmatch(key):
        raise ValueError("only a key may stand in an expression")
    return f'"{key}"'


def number(value: float) -> str:
    """The number as Milvus' expression language writes it; ValueError for an infinite one."""
    if not math.isfinite(value):
        raise ValueError("only a finite number may stand in an expression")
    return repr(float(value))


def equal(field: str, key: str) -> str:
    """The expression that a field is this key."""
    return f"{field} == {literal(key)}"


def any_of(field: str, keys: Iterable[str]) -> str:
    """The expression that a field is one of these keys."""
    return f"{field} in [{', '.join(literal(key) for key in keys)}]"


def both(*conditions: str) -> str:
    """The expression that all of these hold."""
    return " and ".join(conditions)
