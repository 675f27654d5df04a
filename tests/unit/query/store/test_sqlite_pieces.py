"""Pieces of vectors in memory: never more than allowed, and never others than in the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from query.store import Chunk, Document, SearchMode, SearchQuery, Store, open_store
from query.store.sqlite import SqliteStore, pieces
from query.store.sqlite.pieces import PIECE_BYTES, Piece, Pieces
from query.store.testing import SPACE, dense, document, fill, hybrid, ids, vector_of

KILOBYTE = 1024


def piece(number: int, size: int = KILOBYTE) -> Piece:
    return np.full(size, number, np.uint8)


def test_a_piece_is_found_in_its_version_alone() -> None:
    memory = Pieces()
    memory.keep("vectors", 1, 7, piece(1))
    found = memory.get("vectors", 1, 7)
    assert found is not None
    assert found[0] == 1
    assert memory.get("vectors", 1, 8) is None
    assert memory.get("vectors", 2, 7) is None
    assert memory.get("codes", 1, 7) is None
    memory.keep("vectors", 1, 8, piece(2))
    assert memory.get("vectors", 1, 7) is None


def test_a_piece_without_a_version_is_not_kept() -> None:
    memory = Pieces()
    memory.keep("vectors", 1, None, piece(1))
    assert memory.get("vectors", 1, None) is None


def test_the_longest_unused_goes_first() -> None:
    memory = Pieces(3 * KILOBYTE)
    for key in (1, 2, 3):
        memory.keep("vectors", key, 0, piece(key))
    memory.get("vectors", 1, 0)
    memory.keep("vectors", 4, 0, piece(4))
    assert [key for key in range(1, 5) if memory.get("vectors", key, 0) is not None] == [1, 3, 4]


def test_in_a_full_memory_a_piece_is_wanted_when_it_is_asked_for_again() -> None:
    memory = Pieces(2 * PIECE_BYTES)
    for key in (1, 2):
        assert memory.wants("vectors", key)
        memory.keep("vectors", key, 0, piece(key, PIECE_BYTES))
    assert memory.wants("vectors", 2)  # a new version of it
    assert [memory.wants("vectors", key) for key in (3, 4, 3, 5, 6, 4, 6)] == [
        False, False, True, False, False, False, True,
    ]  # fmt: skip


async def test_more_than_the_memory_takes_is_searched_in_full(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.db", approximate_from=10**9) as store:
        setattr(store, "_pieces", Pieces(2 * PIECE_BYTES))  # noqa: B010 - not part of the port
        wide = replace(SPACE, dimensions=4096)
        draw = np.random.default_rng(5)
        vectors = draw.standard_normal((300, 4096)).astype("<f4")
        chunks = [
            Chunk(str(n), n, "", 0, 0, "", vector.tobytes()) for n, vector in enumerate(vectors)
        ]
        await store.put_document("t", "c", wide, "", Document("d", "", "", {}, "h", chunks))
        for _ in range(3):
            for number in (0, 100, 200, 299):
                query = SearchQuery(SearchMode.DENSE, 1, vectors[number].tobytes())
                assert ids(await store.search("t", "c", query)) == [str(number)]


def test_what_is_replaced_makes_room() -> None:
    memory = Pieces(2 * KILOBYTE)
    memory.keep("vectors", 1, 0, piece(1))
    for version in range(10):
        memory.keep("vectors", 2, version, piece(2))
    assert memory.get("vectors", 1, 0) is not None


def test_a_piece_larger_than_the_memory_is_not_kept() -> None:
    memory = Pieces(KILOBYTE)
    memory.keep("vectors", 1, 0, piece(1, KILOBYTE + 1))
    assert memory.get("vectors", 1, 0) is None


@pytest.mark.parametrize("parameters", ["", "?approximate_from=1"])
async def test_what_another_process_changes_is_seen_at_once(
    tmp_path: Path, parameters: str
) -> None:
    url = f"sqlite:///{tmp_path}/store.db{parameters}"

    async def first(store: Store, seed: int) -> list[str]:
        return ids(await store.search("t", "c", dense(1, vector_of(seed * 100))))

    async with open_store(url) as reader, open_store(url) as writer:
        await fill(writer, "t", "c", [document(f"d{n}", seed=n) for n in range(1, 30)])
        assert await first(reader, 5) == ["d5#0"]
        await fill(writer, "t", "c", [document("d5", seed=99), document("d6", seed=5)])
        assert await first(reader, 5) == ["d6#0"]
        assert await first(reader, 99) == ["d5#0"]
        await writer.delete_documents("t", "c", [f"d{n}" for n in range(1, 30) if n != 8])
        assert await first(reader, 5) == ["d8#0"]
        await fill(writer, "t", "c", [document("new", seed=5)])
        assert await first(reader, 5) == ["new#0"]
        await writer.delete_collection("t", "c")
        await fill(writer, "t", "c", [document("anew", seed=6)])
        assert await first(reader, 5) == ["anew#0"]


@pytest.mark.parametrize("parameters", ["", "?approximate_from=1"])
async def test_a_second_search_reads_no_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: str
) -> None:
    async with open_store(f"sqlite:///{tmp_path}/store.db{parameters}") as store:
        await fill(store, "t", "c", [document(f"d{n}", seed=n) for n in range(9)])
        kept: list[int] = []
        keep = Pieces.keep

        def watch(self: Pieces, table: str, key: int, version: int | None, new: Piece) -> None:
            if version is not None:
                kept.append(key)
            keep(self, table, key, version, new)

        monkeypatch.setattr(pieces.Pieces, "keep", watch)
        expected = ids(await store.search("t", "c", dense()))
        assert len(kept) == 1
        assert ids(await store.search("t", "c", dense())) == expected
        await store.search("t", "c", hybrid())
        assert len(kept) == 1
        await store.put_document("t", "c", SPACE, "", document("d", seed=50))
        await store.search("t", "c", dense())
        assert len(kept) == 2
