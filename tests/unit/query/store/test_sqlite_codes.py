"""Vectors in two bits a dimension, and how a large collection is searched by them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import pytest
from numpy.typing import NDArray

from query.store import Chunk, Document, Filter, Range, SearchMode, SearchQuery, Store, open_store
from query.store.sqlite import code_blocks
from query.store.sqlite.codes import Question, encode
from query.store.testing import SPACE

DIMENSIONS = 96
WIDE = replace(SPACE, dimensions=DIMENSIONS)
Matrix = NDArray[np.float32]


def unit(values: NDArray[np.float64]) -> Matrix:
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    directions: Matrix = (values / lengths).astype(np.float32)
    return directions


def noise(count: int, dimensions: int = DIMENSIONS, seed: int = 0) -> Matrix:
    """Vectors without any structure."""
    return unit(np.random.default_rng(seed).standard_normal((count, dimensions)))


def clusters(count: int, seed: int = 0) -> Matrix:
    """Vectors as embeddings are: in groups, of few directions, all on one side."""
    draw = np.random.default_rng(seed)
    directions = draw.standard_normal((24, DIMENSIONS))
    groups = draw.standard_normal((40, 24))[draw.integers(40, size=count)]
    values = (groups + 0.5 * draw.standard_normal((count, 24))) @ directions
    values += 0.5 * draw.standard_normal((count, DIMENSIONS)) + 8
    return unit(values)


KINDS = {"noise": noise(4000), "clusters": clusters(4000)}


def documents(vectors: Matrix, per_document: int = 500) -> Iterable[Document]:
    """Documents d0, d1 ... with their numbers as metadata; chunk n of all holds vector n."""
    for number, start in enumerate(range(0, len(vectors), per_document)):
        chunks = [
            Chunk(str(start + n), n, "text", 0, 4, "", vector.tobytes())
            for n, vector in enumerate(vectors[start : start + per_document])
        ]
        yield Document(f"d{number}", "", "", {"number": number}, "h", chunks)


async def fill(store: Store, written: Iterable[Document]) -> None:
    for each in written:
        await store.put_document("t", "c", WIDE, "", each)


async def nearest(
    store: Store, query: Matrix, top_k: int = 10, only: Filter | None = None
) -> set[int]:
    wanted = SearchQuery(SearchMode.DENSE, top_k, query.tobytes(), filter=only or Filter())
    return {int(hit.chunk_id) for hit in await store.search("t", "c", wanted)}


def brute(vectors: Matrix, query: Matrix, among: Iterable[int], top_k: int = 10) -> set[int]:
    candidates = np.array([*among])
    best = np.argsort(-(vectors[candidates] @ query))[:top_k]
    return set(candidates[best].tolist())


def tables(path: Path) -> dict[str, int]:
    """How many rows each table of vectors has, and how many pages the file."""
    connection = apsw.Connection(str(path))
    names = ("vector_blocks", "code_blocks", "centres")
    found = {
        name: connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]  # noqa: S608
        for name in names
    }
    found["pages"] = connection.execute("PRAGMA page_count").fetchall()[0][0]
    connection.close()
    return {name: int(str(number)) for name, number in found.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes come a block at a time, so that the first ones choose among the rest."""
    monkeypatch.setattr(code_blocks, "PIECE_BYTES", 1)


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{path}?approximate_from=1") as opened:
        yield opened


@pytest.mark.parametrize("dimensions", [16, 64, 100, 384, 1536])
def test_estimates_are_right_on_average(dimensions: int) -> None:
    vectors = noise(2000, dimensions) + np.float32(1 / dimensions**0.5)
    vectors = unit(vectors.astype(np.float64))
    query = vectors[0]
    centre = vectors.mean(axis=0)
    errors = Question(query, centre).estimate(encode(vectors, centre)) - vectors @ query
    assert abs(errors.mean()) < 0.01
    assert errors.std() * dimensions**0.5 < 0.25


def test_vectors_that_are_all_the_same_are_estimated_exactly() -> None:
    same = np.repeat(noise(1), 5, axis=0)
    estimates = Question(same[0], same[0]).estimate(encode(same, same[0]))
    assert estimates == pytest.approx([1.0] * 5)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("kind", KINDS)
async def test_99_of_100_neighbours_are_found(store: Store, kind: str) -> None:
    vectors = KINDS[kind]
    await fill(store, documents(vectors))
    found = [
        len(await nearest(store, query) & brute(vectors, query, range(4000)))
        for query in vectors[::100]
    ]
    assert sum(found) >= 0.99 * 10 * len(found)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [1, 4, 7])
async def test_99_of_100_neighbours_are_found_behind_a_filter(
    store: Store, kind: str, kept: int
) -> None:
    vectors = KINDS[kind]
    await fill(store, documents(vectors))
    only = Filter(None, (Range("number", lt=kept),))
    found = [
        len(await nearest(store, query, only=only) & brute(vectors, query, range(500 * kept)))
        for query in vectors[::100]
    ]
    assert sum(found) >= 0.99 * 10 * len(found)


async def test_what_is_asked_for_in_full_is_found_in_full(store: Store) -> None:
    vectors = KINDS["clusters"][:1500]
    await fill(store, documents(vectors))
    for query in vectors[::300]:
        assert await nearest(store, query, 1000) == brute(vectors, query, range(1500), 1000)


async def test_a_collection_gets_codes_when_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    vectors = KINDS["clusters"]
    async with open_store(f"sqlite:///{path}?approximate_from={3000 * 4 * DIMENSIONS}") as store:
        await fill(store, documents(vectors[:2500]))
        assert tables(path)["centres"] == tables(path)["code_blocks"] == 0
        await fill(store, documents(vectors))
        assert tables(path)["centres"] == 1
        for number in (0, 1700, 2999, 3999):
            assert number in await nearest(store, vectors[number], 1)


async def test_a_small_collection_is_searched_in_full(tmp_path: Path) -> None:
    vectors = KINDS["noise"]
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        await fill(store, documents(vectors))
        for query in noise(20, seed=9):
            assert await nearest(store, query) == brute(vectors, query, range(4000))


async def test_a_file_without_codes_gets_them_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    vectors = KINDS["clusters"]
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, documents(vectors))
        await store.put_document("u", "c", WIDE, "", Document("empty", "", "", {}, "h", []))
    stores = [open_store(f"sqlite:///{path}?approximate_from=1") for _ in range(3)]
    await asyncio.gather(*(each.open() for each in stores))
    assert tables(path)["centres"] == 1
    assert tables(path)["code_blocks"] > 1
    for each in stores:
        for number in (0, 1999, 3999):
            assert number in await nearest(each, vectors[number], 1)
        await each.close()


async def test_every_chunk_stays_with_its_vector_through_replacements_and_deletions(
    store: Store, path: Path
) -> None:
    draw = np.random.default_rng(3)
    keys = itertools.count()
    held: dict[str, dict[int, Matrix]] = {}
    for _ in range(60):
        name, other = (f"d{number}" for number in draw.integers(8, size=2))
        if held and draw.random() < 0.3:
            gone = await store.delete_documents("t", "c", [name, other])
            assert set(gone) == {name, other} & set(held)
            held = {key: value for key, value in held.items() if key not in gone}
            continue
        vectors = noise(int(draw.integers(1, 200)), seed=int(draw.integers(10**9)))
        held[name] = {next(keys): vector for vector in vectors}
        chunks = [
            Chunk(str(key), n, "text", 0, 4, "", vector.tobytes())
            for n, (key, vector) in enumerate(held[name].items())
        ]
        await fill(store, [Document(name, "", "", {}, "h", chunks)])
    everything = {key: vector for each in held.values() for key, vector in each.items()}
    assert len(everything) > 200
    for key, vector in [*everything.items()][::7]:
        query = SearchQuery(SearchMode.DENSE, 1, vector.tobytes(), with_vectors=True)
        (hit,) = await store.search("t", "c", query)
        assert (int(hit.chunk_id), hit.vector) == (key, vector.tobytes())
    rows = 32 * 1024 // (4 * DIMENSIONS)
    assert tables(path)["vector_blocks"] == -(-len(everything) // rows)


async def test_replacing_takes_no_more_space(store: Store, path: Path) -> None:
    vectors = KINDS["clusters"][:2000]
    await fill(store, documents(vectors, 50))
    await fill(store, documents(vectors, 50))
    before = tables(path)
    for _ in range(5):
        await fill(store, documents(vectors, 50))
    after = tables(path)
    assert {**after, "pages": 0} == {**before, "pages": 0}
    assert after["pages"] <= 1.1 * before["pages"]


async def test_a_collection_that_was_emptied_begins_anew(store: Store, path: Path) -> None:
    vectors = KINDS["clusters"]
    await fill(store, documents(vectors[:1000]))
    await store.delete_documents("t", "c", ["d0", "d1"])
    assert await nearest(store, vectors[0]) == set()
    found = tables(path)
    assert found["vector_blocks"] == found["code_blocks"] == found["centres"] == 0
    await fill(store, documents(vectors[1000:2000]))
    assert await nearest(store, vectors[1000]) == brute(
        vectors[1000:2000], vectors[1000], range(1000)
    )


async def test_documents_without_chunks_have_nothing_to_encode(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/store.db?approximate_from=0") as store:
        await fill(store, [Document("empty", "", "", {}, "h", [])])
        assert await nearest(store, KINDS["noise"][0]) == set()
        await fill(store, documents(KINDS["noise"][:10]))
        await store.delete_documents("t", "c", ["d0"])
        assert await nearest(store, KINDS["noise"][0]) == set()
