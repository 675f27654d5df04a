"""Search in the stores at size: recall against brute force, latency, throughput.

`make bench ARGS=retrieval` measures SQLite and PostgreSQL at 20,000 and 200,000 chunks of 384 and
1536 dimensions, all of one tenant and spread over twenty, and writes the tables of
docs/retrieval.md; `retrieval-sqlite` and `retrieval-postgresql` measure and write one of them.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median, quantiles

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bench.pages import RETRIEVAL, publish
from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace
from query.store import (
    Chunk,
    Document,
    Equals,
    Filter,
    SearchMode,
    SearchQuery,
    Store,
    open_store,
)
from tests.servers.postgresql import PostgresqlServer

SIZES = ((20_000, 384), (20_000, 1536), (200_000, 384), (200_000, 1536))
AIMED_AT = (100_000, 1536)
"""What SQLite is to search within 30 ms, half of the time: measured with it alone."""

TOP_K = 10
TENANTS = 20
QUERIES = 200
AT_ONCE = 16
CHUNKS_A_DOCUMENT = 20
KEPT_OF_TEN = 1
"""Of ten documents, how many the metadata filter keeps."""

_CLUSTERS = 200
_COLLECTION = "bench"
_WRITERS = 4
_SETTLE_SECONDS = 600.0

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    chunks: int
    dimensions: int
    search: str
    recall: float
    p50: float
    p99: float
    per_second: float

    def cells(self) -> tuple[str, ...]:
        """The line as it is shown."""
        return (
            f"{self.chunks:,} x {self.dimensions}",
            self.search,
            f"{self.recall:.3f}",
            f"{self.p50:.1f}",
            f"{self.p99:.1f}",
            f"{self.per_second:.0f}",
        )


def main() -> None:
    """Measure every store."""
    sqlite()
    postgresql()


def sqlite() -> None:
    """Measure SQLite, and write its table."""
    _measure("SQLite", sorted([*SIZES, AIMED_AT]))


def postgresql() -> None:
    """Measure PostgreSQL, and write its table."""
    _measure("PostgreSQL", SIZES)


def _measure(store: str, sizes: Iterable[tuple[int, int]]) -> None:
    """Print the table and write it into the page: after each size, as it takes long."""
    table = Table("size", "search", title=store)
    for column in ("recall@10", "p50 ms", "p99 ms", f"searches/s, {AT_ONCE} at once"):
        table.add_column(column, justify="right")
    for chunks, dimensions in sizes:
        for row in asyncio.run(_of_store(store, chunks, dimensions)):
            table.add_row(*row.cells())
        publish(RETRIEVAL, f"retrieval-{store.lower()}", table)


def vectors(count: int, dimensions: int, seed: int) -> Vectors:
    """Unit vectors around centres, as embeddings of texts about so many subjects would lie."""
    centres = np.random.default_rng(7).normal(size=(_CLUSTERS, dimensions))
    rng = np.random.default_rng(seed)
    near = centres[rng.integers(_CLUSTERS, size=count)]
    found = near + 0.9 * rng.normal(size=(count, dimensions))
    unit: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("<f4")
    return unit


async def _of_store(name: str, chunks: int, dimensions: int) -> list[Row]:
    rows = []
    async with _opened(name) as store:
        every = vectors(chunks, dimensions, seed=1)
        asked = vectors(QUERIES, dimensions, seed=2)
        await fill(store, "one", every)
        share = chunks // TENANTS
        for number in range(TENANTS):
            await fill(store, f"of-{TENANTS}-{number}", every[number * share :][:share])
        await _settle(store, asked[0])
        kept = Filter(None, (Equals("tenth", 0),))
        of_kept = (np.arange(chunks) // CHUNKS_A_DOCUMENT) % 10 < KEPT_OF_TEN
        plan = (
            ("one tenant", "one", every, None, None),
            (f"one of {TENANTS} tenants", f"of-{TENANTS}-0", every[:share], None, None),
            ("one tenant, filter keeps a tenth", "one", every, kept, of_kept),
        )
        for search, tenant, held, restriction, mask in plan:
            find = finder(store, tenant, restriction or Filter())
            recall = await _recall(find, held, mask, asked)
            latencies = []
            for query in asked:
                began = time.perf_counter()
                await find(query.tobytes())
                latencies.append((time.perf_counter() - began) * 1000)
            speed = await _throughput(find, asked)
            p99 = quantiles(latencies, n=100)[98]
            rows.append(Row(chunks, dimensions, search, recall, median(latencies), p99, speed))
    return rows


@asynccontextmanager
async def _opened(name: str) -> AsyncIterator[Store]:
    if name == "SQLite":
        with tempfile.TemporaryDirectory() as folder:
            async with open_store(f"sqlite:///{folder}/store.db") as store:
                yield store
        return
    with PostgresqlServer() as server:
        async with open_store(server.url(await server.create_database())) as store:
            yield store


async def fill(store: Store, tenant: str, held: Vectors) -> None:
    """Write documents of twenty chunks, some at once."""
    space = EmbeddingSpace(ModelProvider.OPENAI, "bench-model", held.shape[1], "", "openai")
    starts = iter(range(0, len(held), CHUNKS_A_DOCUMENT))

    async def writer() -> None:
        for start in starts:
            number = start // CHUNKS_A_DOCUMENT
            name = f"doc-{number:06}"
            chunks = [
                Chunk(
                    chunk_id=f"{start + n}",
                    position=n,
                    text=f"river {start + n} town",
                    start=0,
                    end=1,
                    section="",
                    vector=vector.tobytes(),
                )
                for n, vector in enumerate(held[start : start + CHUNKS_A_DOCUMENT])
            ]
            document = Document(name, "", "", {"tenth": number % 10}, "h", chunks)
            await store.put_document(tenant, _COLLECTION, space, "", document)

    await asyncio.gather(*(writer() for _ in range(_WRITERS)))


async def _settle(store: Store, query: Vectors) -> None:
    """Wait until searches no longer get faster: PostgreSQL builds its index in the background."""
    find = finder(store, "one", Filter())
    best, ends = float("inf"), time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < ends:
        began = time.perf_counter()
        for _ in range(5):
            await find(query.tobytes())
        took = time.perf_counter() - began
        if took > best * 0.8:
            return
        best = took
        await asyncio.sleep(15)


Find = Callable[[bytes], Awaitable[list[str]]]


def finder(store: Store, tenant: str, restriction: Filter) -> Find:
    """What searches by a vector, and gives the ids of the chunks that it finds."""

    async def find(vector: bytes) -> list[str]:
        query = SearchQuery(SearchMode.DENSE, TOP_K, vector, None, restriction)
        return [hit.chunk_id for hit in await store.search(tenant, _COLLECTION, query)]

    return find


async def _recall(
    find: Find, held: Vectors, mask: NDArray[np.bool_] | None, asked: Vectors
) -> float:
    """The share of the true ten best that is found."""
    found = 0
    for query in asked:
        scores = held @ query
        if mask is not None:
            scores = np.where(mask, scores, -2.0)
        best = {str(n) for n in np.argpartition(-scores, TOP_K)[:TOP_K]}
        found += len(best & set(await find(query.tobytes())))
    return found / (TOP_K * len(asked))


async def _throughput(find: Find, asked: Sequence[NDArray[np.float32]] | Vectors) -> float:
    queries = iter([query.tobytes() for query in asked] * 2)

    async def caller() -> None:
        for query in queries:
            await find(query)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return 2 * len(asked) / (time.perf_counter() - began)
