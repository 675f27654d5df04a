"""What an adapter remembers between calls: a bounded number of pairs, the oldest forgotten."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_MOST = 10_000


class Memory(Generic[Key, Value]):
    """Pairs of key and value."""

    def __init__(self) -> None:
        self._pairs: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """What is remembered of the key."""
        return self._pairs.get(key)

    def set(self, key: Key, value: Value) -> None:
        """Remember it, as the newest."""
        self._pairs.pop(key, None)
        if len(self._pairs) >= _MOST:
            del self._pairs[next(iter(self._pairs))]
        self._pairs[key] = value
