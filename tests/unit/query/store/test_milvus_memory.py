"""What a Milvus store remembers is bounded."""

import pytest

from query.store.milvus import memory
from query.store.milvus.memory import Memory


def test_the_oldest_is_forgotten_for_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST", 3)
    remembered: Memory[str, int] = Memory()
    for key in "abc":
        remembered.set(key, 1)
    remembered.set("a", 2)
    remembered.set("d", 1)
    assert [remembered.get(key) for key in "abcd"] == [2, None, 1, 1]
