"""What stands in an index for values of any length, and how metadata compares."""

import hashlib
from decimal import Decimal

from query.store.model import MetadataValue

_DIGEST_BYTES = 16


def digest(text: str) -> bytes:
    """What stands for a text that is only ever compared for equality."""
    encoded = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest()


def compared(value: MetadataValue) -> bytes | Decimal:
    """A metadata value as it compares: numbers exactly, texts and booleans among themselves."""
    if isinstance(value, bool):
        return digest(f"boolean {value}")
    return digest(f"text {value}") if isinstance(value, str) else Decimal(value)
