"""The indexes of vectors that PostgreSQL's upkeep builds: when, how good, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from config_core.space import EmbeddingSpace
from query.store import (
    Document,
    Equals,
    Filter,
    SearchMode,
    SearchQuery,
    Store,
    StoreUnavailableError,
    open_store,
    staged,
)
from query.store.postgresql import PostgresqlStore, catalog, vector_index
from query.store.postgresql.filters import restriction
from query.store.postgresql.upkeep import Upkeep
from query.store.testing import SPACE, document
from tests.servers.postgresql import PostgresqlServer

DIMENSIONS = 32
WIDE = replace(SPACE, dimensions=DIMENSIONS)
PER_DOCUMENT = 50
FROM = 1000
INDEXES = "SELECT count(*) FROM pg_class WHERE relname LIKE 'vectors_of_%'"
MEASURED = "SELECT string_agg(chunks || ' ' || (ef_search > 0), ',') FROM cascada.vector_indexes"
TENTH = Filter(None, (Equals("tenth", 0),))

Vectors = NDArray[np.float32]


def vectors(count: int, seed: int, dimensions: int = DIMENSIONS) -> Vectors:
    """Unit vectors around centres, as embeddings of texts about so many subjects lie."""
    centres = np.random.default_rng(7).standard_normal((20, dimensions))
    draw = np.random.default_rng(seed)
    found = centres[draw.integers(20, size=count)] + 0.5 * draw.standard_normal((count, dimensions))
    unit: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("<f4")
    return unit


def documents(held: Vectors) -> list[Document]:
    """Documents that hold the vectors in turn; every tenth is marked."""
    made = []
    for start in range(0, len(held), PER_DOCUMENT):
        number = start // PER_DOCUMENT
        part = held[start : start + PER_DOCUMENT]
        plain = document(f"{number:05}", [f"word {n}" for n in part[:, 0]], {"tenth": number % 10})
        chunks = [
            replace(chunk, vector=vector.tobytes())
            for chunk, vector in zip(plain.chunks, part, strict=True)
        ]
        made.append(replace(plain, chunks=chunks))
    return made


async def write(
    store: Store, held: Vectors, name: str = "c", space: EmbeddingSpace = WIDE, first: int = 0
) -> None:
    for each in documents(held)[first:]:
        await store.put_document("t", name, space, "", each)


async def recall(store: Store, held: Vectors, only: Filter | None = None, top_k: int = 10) -> float:
    """The share of the true best that is found, over a few questions."""
    marks = np.arange(len(held)) // PER_DOCUMENT % 10
    fits = np.ones(len(held), bool) if only is None else marks == 0
    found = 0
    asked = vectors(20, seed=2, dimensions=held.shape[1])
    for vector in asked:
        query = SearchQuery(SearchMode.DENSE, top_k, vector.tobytes(), None, only or Filter())
        hits = await store.search("t", "c", query)
        scores = np.where(fits, held @ vector, -2)
        best = np.argsort(-scores)[:top_k]
        names = {f"{n // PER_DOCUMENT:05}#{n % PER_DOCUMENT}" for n in best}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        found += len(names & {hit.chunk_id for hit in hits})
    return found / (top_k * len(asked))


def upkeep_of(store: Store) -> Upkeep:
    upkeep = getattr(store, "_upkeep")  # noqa: B009 - not part of the port
    assert isinstance(upkeep, Upkeep)
    return upkeep


async def look(store: Store) -> None:
    """Let the store look for what there is to build, as it does every few seconds."""
    await upkeep_of(store)._build_due()


async def until(server: PostgresqlServer, database: str, sql: str, wanted: object) -> None:
    """Wait until a query finds this value."""
    async with asyncio.timeout(60):
        while await server.value(sql, database) != wanted:  # noqa: ASYNC110 # in another process
            await asyncio.sleep(0.02)


class Place:
    """A database of a test's own."""

    def __init__(self, server: PostgresqlServer, database: str) -> None:
        self.server = server
        self.database = database

    def url(self, **settings: str) -> str:
        """Its URL; the store looks for something to build when the test says so."""
        own = {"hnsw_from": str(FROM), "upkeep_milliseconds": "86400000", **settings}
        return self.server.url(self.database, **own)

    async def value(self, sql: str) -> object:
        return await self.server.value(sql, self.database)


@pytest.fixture
async def place(postgresql: PostgresqlServer) -> AsyncIterator[Place]:
    name = await postgresql.create_database()
    yield Place(postgresql, name)
    await postgresql.drop_database(name)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    async with open_store(place.url()) as opened:
        yield opened


class Explaining:
    """A connection that tells how it would find what it is asked for."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, sql: str) -> None:
        await self._connection.execute(sql)

    async def fetch(self, sql: str, *values: object) -> Sequence[Any]:
        rows: Sequence[Any] = await self._connection.fetch(f"EXPLAIN {sql}", *values)
        return rows


async def test_a_large_collection_gets_an_index_once_it_grows_no_more(
    place: Place, store: Store
) -> None:
    held = vectors(2 * FROM, seed=1)
    await write(store, held[: FROM - 50])
    for _ in range(3):
        await look(store)
    assert await place.value(INDEXES) == 0  # too small
    await write(store, held, first=(FROM - 50) // PER_DOCUMENT)
    await look(store)
    await write(store, vectors(3 * FROM, seed=1), first=2 * FROM // PER_DOCUMENT)
    await look(store)
    assert await place.value(INDEXES) == 0  # it grew
    await look(store)
    assert await place.value(INDEXES) == 1
    assert await place.value(MEASURED) == f"{3 * FROM} true"


async def test_nothing_is_looked_at_twice_where_nothing_was_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, vectors(100, seed=1))
    await look(store)
    looks = list[object]()

    async def count(_: object, written: object) -> dict[int, tuple[int, int]]:
        looks.append(written)
        return {}

    monkeypatch.setattr(Upkeep, "_due", count)
    await look(store)
    assert looks == []
    await write(store, vectors(50, seed=1), "another")
    await look(store)
    await look(store)
    assert len(looks) == 1


async def test_an_indexed_collection_is_searched_by_its_index_and_finds_what_is_there(
    place: Place, store: Store
) -> None:
    held = vectors(3 * FROM, seed=1)
    await write(store, held)
    exact = [await recall(store, held, only) for only in (None, TENTH)]
    assert exact == [1.0, 1.0]
    await look(store)
    await look(store)
    async with open_store(place.url()) as another, counted() as calls:
        for one in (store, another):
            assert await recall(one, held) >= 0.99
        assert len(calls) == 40
        assert await recall(store, held, top_k=200) >= 0.99


@asynccontextmanager
async def counted() -> AsyncIterator[list[object]]:
    """How often an index was asked."""
    calls = list[object]()
    asked = vector_index.nearest

    async def nearest(*values: Any, **named: Any) -> Sequence[Any]:
        calls.append(values)
        return await asked(*values, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_index, "nearest", nearest)
        yield calls


@pytest.mark.parametrize("cost", [0, vector_index._COST])
async def test_a_filter_is_kept_by_the_index_and_without_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, cost: int
) -> None:
    monkeypatch.setattr(vector_index, "_COST", cost)
    held = vectors(3 * FROM, seed=1)
    await write(store, held)
    await look(store)
    await look(store)
    async with counted() as calls:
        assert await recall(store, held, TENTH) >= 0.99
        assert len(calls) == (0 if cost else 20)
        # Of what a filter leaves nothing is missing, however little it is.
        few = Filter(frozenset({"00003"}))
        query = SearchQuery(SearchMode.DENSE, 1000, held[0].tobytes(), None, few)
        hits = await store.search("t", "c", query)
        assert {hit.document_id for hit in hits} == {"00003"}
        assert len(hits) == PER_DOCUMENT


@pytest.mark.parametrize("only", [Filter(), TENTH])
async def test_the_planner_takes_the_index(store: Store, only: Filter) -> None:
    held = vectors(FROM, seed=1)
    await write(store, held)
    await look(store)
    await look(store)
    assert isinstance(store, PostgresqlStore)
    database, _ = store._opened

    async def explain(connection: Any) -> str:
        scope = await catalog.require(connection, "t", "c")
        rows = await vector_index.nearest(
            *(Explaining(connection), scope.id, held[0].tobytes()),  # type: ignore[arg-type]
            restriction(scope, only) if only else None,
            count=10,
            ef_search=100,
        )
        return "\n".join(row[0] for row in rows)

    assert "Index Scan using vectors_of_1 on vectors" in await database.read(explain)


async def test_an_index_that_finds_too_little_is_not_used_nor_built_again(
    place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "_RECALL", 1.1)
    held = vectors(FROM, seed=1)
    await write(store, held)
    for _ in range(4):
        await look(store)
    assert await place.value("SELECT chunks FROM cascada.vector_indexes") == FROM
    assert await place.value(INDEXES) == 0
    async with counted() as calls:
        assert await recall(store, held) == 1.0
    assert calls == []
    with monkeypatch.context() as patch:
        patch.setattr(vector_index, "build", None)
        await store.put_document("t", "c", WIDE, "", documents(held)[0])
        await look(store)
    monkeypatch.setattr(vector_index, "_RECALL", 0.9)
    await write(store, vectors(2 * FROM, seed=1), first=FROM // PER_DOCUMENT)
    for _ in range(2):
        await look(store)
    assert await place.value(MEASURED) == f"{2 * FROM} true"


async def test_an_index_looks_farther_where_that_finds_more(
    place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "_EF_SEARCH", (1, 2, 400))
    monkeypatch.setattr(vector_index, "_candidates", lambda count: count)
    # Vectors that lie nowhere in particular are the hardest to find.
    held = np.random.default_rng(1).standard_normal((2 * FROM, 256)).astype("<f4")
    await write(store, held, space=replace(SPACE, dimensions=256))
    for _ in range(2):
        await look(store)
    assert await place.value("SELECT ef_search FROM cascada.vector_indexes") == 400


async def test_vectors_of_more_than_two_thousand_dimensions_are_indexed(
    place: Place, store: Store
) -> None:
    held = vectors(FROM, seed=1, dimensions=3072)
    await write(store, held, space=replace(SPACE, dimensions=3072))
    await look(store)
    await look(store)
    assert await place.value(INDEXES) == 1
    assert await recall(store, held) >= 0.99


async def test_vectors_of_more_dimensions_than_an_index_takes_are_searched_exactly(
    place: Place, store: Store
) -> None:
    held = vectors(100, seed=1, dimensions=4500)
    async with open_store(place.url(hnsw_from="10")) as small:
        await write(small, held, space=replace(SPACE, dimensions=4500))
        await look(small)
        await look(small)
        assert await recall(small, held) == 1.0
    assert await place.value(INDEXES) == 0
    with pytest.raises(ValueError, match="16000 dimensions"):
        await write(store, vectors(50, 1, 16_001), "d", replace(SPACE, dimensions=16_001))


async def test_an_index_whose_building_was_cut_off_is_built_again(
    place: Place, store: Store
) -> None:
    held = vectors(FROM, seed=1)
    await write(store, held)
    await look(store)
    await look(store)
    await place.server.execute(
        "DELETE FROM cascada.vector_indexes; UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'cascada.vectors_of_1'::regclass",
        place.database,
    )
    async with open_store(place.url()) as restarted:
        await look(restarted)
        await look(restarted)
        assert await recall(restarted, held) >= 0.99
    assert await place.value(MEASURED) == f"{FROM} true"
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'cascada.vectors_of_1'::regclass"
    assert await place.value(valid) is True


async def test_what_a_process_left_undone_the_next_one_does(place: Place) -> None:
    async with open_store(place.url()) as store:
        await write(store, vectors(FROM, seed=1))
        await place.server.execute("INSERT INTO cascada.discarded VALUES (99)", place.database)
    async with open_store(place.url(upkeep_milliseconds="50")):
        await until(place.server, place.database, INDEXES, 1)
        await until(place.server, place.database, "SELECT count(*) FROM cascada.discarded", 0)


async def test_a_deleted_collection_leaves_no_row_and_no_index(place: Place, store: Store) -> None:
    await write(store, vectors(FROM, seed=1))
    await write(store, vectors(2 * PER_DOCUMENT, seed=1), "kept")
    await look(store)
    await look(store)
    assert await place.value(INDEXES) == 1
    assert await store.delete_collection("t", "c")
    await until(place.server, place.database, "SELECT count(*) FROM cascada.discarded", 0)
    assert await place.value(INDEXES) == 0
    for table in ("collections", "documents", "attributes", "chunks", "vectors", "postings",
                  "tallies", "vector_indexes"):  # fmt: skip
        column = "id" if table == "collections" else "collection"
        left = f"SELECT count(*) FROM cascada.{table} WHERE {column} = 1"  # noqa: S608
        assert await place.value(left) == 0, table
    listed, _ = await store.list_documents("t", "kept", 10)
    assert len(listed) == 2


async def test_a_promoted_collection_brings_its_index_and_the_old_one_goes(
    place: Place, store: Store
) -> None:
    held = vectors(FROM, seed=1)
    await write(store, held)
    await write(store, held, staged("c"))
    await look(store)
    await look(store)
    assert await place.value(INDEXES) == 2
    assert await store.promote_collection("t", "c")
    async with counted() as calls:
        assert await recall(store, held) >= 0.99
        assert len(calls) == 20
    await until(place.server, place.database, INDEXES, 1)


async def test_only_one_process_builds_and_another_does_it_later(
    place: Place, store: Store
) -> None:
    await write(store, vectors(FROM, seed=1))
    await look(store)
    async with place.server.connected(place.database) as other:
        await other.execute("SELECT pg_advisory_lock(x'CA5CADA1'::bigint)")
        await look(store)
        assert await place.value(INDEXES) == 0
        assert await store.delete_collection("t", "absent") is False
    await look(store)
    assert await place.value(INDEXES) == 1


async def test_a_failure_of_upkeep_is_logged_and_it_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    build: Callable[..., Any] = vector_index.build
    fails = iter([True, True, False])

    async def sometimes(*values: Any) -> None:
        if next(fails):
            raise StoreUnavailableError("PostgreSQL's disk is full.")
        await build(*values)

    monkeypatch.setattr(vector_index, "build", sometimes)
    with capture_logs() as logs:
        async with open_store(place.url(upkeep_milliseconds="20")) as store:
            await write(store, vectors(FROM, seed=1))
            await until(place.server, place.database, MEASURED, f"{FROM} true")
    problems = [each["problem"] for each in logs if each["event"] == "store.upkeep_failed"]
    assert problems == ["PostgreSQL's disk is full."] * 2
