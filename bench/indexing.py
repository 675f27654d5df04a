"""Indexing 10,000 chunks: how much of the time is the provider's answers and the store's writing.

`make bench ARGS=indexing` has query and embedding index documents of some ten chunks each against
the canned provider, which answers at once. Beside that it writes the same chunks straight into an
empty store, and asks the provider for as many vectors with bare HTTP calls: what these two take is
the part that is not ours. All three take turns, and the least of each counts: what else the machine
does in one of them would make a share of anything.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import uvloop
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from rich.table import Table

from bench.cost.processes import cpu_seconds
from bench.cost.services import services
from bench.cost.works import upstream
from bench.pages import PERFORMANCE, publish
from bench.retrieval import vectors
from bench.upstream import DIMENSIONS
from config_core.model_configuration import ModelProvider
from config_core.sources.tenant import DEFAULT_TENANT
from config_core.space import EmbeddingSpace
from query.store import Document, StoredChunk, open_store
from tests.system.asking import index_all

DOCUMENTS = 1000
ROUNDS = 3
_COLLECTION = "bench"
_SECTIONS, _SENTENCES, _WORDS = 10, 14, 14
_WRITERS = 4
_AT_ONCE, _BATCH = 4, 128


@dataclass(frozen=True, slots=True)
class _Round:
    chunks: int
    seconds: float
    cpu: dict[str, float]
    store_seconds: float
    provider_seconds: float


def main() -> None:
    """Measure, print the table and write it into the page."""
    rounds = uvloop.run(_measured())
    best = min(rounds, key=lambda each: each.seconds)
    store = min(each.store_seconds for each in rounds)
    provider = min(each.provider_seconds for each in rounds)
    title = f"Indexing {best.chunks:,} chunks, the least of {ROUNDS} rounds"
    table = Table("what", title=title, title_justify="left")
    table.add_column("measured", justify="right")
    table.add_row("chunks a second", f"{best.chunks / best.seconds:.0f}")
    for name, cpu in best.cpu.items():
        table.add_row(f"CPU of {name}, 1,000 chunks", f"{cpu * 1e6 / best.chunks:.0f} ms")
    table.add_row("everything", f"{best.seconds:.2f} s")
    table.add_row("the store alone", f"{store:.2f} s")
    table.add_row("the provider alone", f"{provider:.2f} s")
    table.add_row("share of both (target: 80 %)", f"{(store + provider) / best.seconds:.0%}")
    publish(PERFORMANCE, "indexing", table)


async def _measured() -> list[_Round]:
    texts = {f"doc-{number:04}": _text(number) for number in range(DOCUMENTS)}
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            async with upstream() as provider:
                rounds.append(await _round(Path(name), provider, texts))
    return rounds


async def _round(folder: Path, provider: int, texts: Mapping[str, str]) -> _Round:
    async with (
        services(folder, provider, ("embedding", "query")) as ours,
        grpc.aio.insecure_channel(ours.target("query")) as channel,
    ):
        before = {each: cpu_seconds([pid]) for each, pid in ours.pids.items()}
        began = time.perf_counter()
        await index_all(QueryServiceStub(channel), texts, _COLLECTION)
        seconds = time.perf_counter() - began
        cpu = {each: cpu_seconds([pid]) - before[each] for each, pid in ours.pids.items()}
    stored = await _stored(folder, texts)
    return _Round(
        sum(map(len, stored)),
        seconds,
        cpu,
        await _seconds_of_store(folder, stored),
        await _seconds_of_provider(provider, stored),
    )


def _text(number: int) -> str:
    """Sections of some 200 words, of which each is a chunk."""
    rng = random.Random(number)  # noqa: S311 # texts are no secret
    words = ("river", "town", "bridge", "market", "winter", "harbour", "council", "road", "school")

    def sentence() -> str:
        return " ".join(rng.choice(words) for _ in range(_WORDS)).capitalize() + "."

    return "\n\n".join(
        f"# Section {section} of {number}\n\n" + " ".join(sentence() for _ in range(_SENTENCES))
        for section in range(_SECTIONS)
    )


async def _stored(folder: Path, names: Iterable[str]) -> list[list[StoredChunk]]:
    """The chunks that the service has made of each document."""
    [database] = (folder / "data").glob("*.db")
    async with open_store(f"sqlite:///{database}") as store:
        return [await store.get_chunks(DEFAULT_TENANT, _COLLECTION, name) for name in names]


async def _seconds_of_store(folder: Path, stored: Sequence[Sequence[StoredChunk]]) -> float:
    """How long the store takes for the same documents."""
    space = EmbeddingSpace(ModelProvider.OPENAI, "bench-model", DIMENSIONS, "", "openai")
    pool = [vector.tobytes() for vector in vectors(256, DIMENSIONS, seed=1)]
    documents = iter(
        Document(
            f"doc-{number:04}",
            "",
            "",
            {},
            "h",
            [each.with_vector(pool[at % len(pool)]) for at, each in enumerate(chunks)],
        )
        for number, chunks in enumerate(stored)
    )
    async with open_store(f"sqlite:///{folder / 'floor.db'}") as store:

        async def writer() -> None:
            for document in documents:
                await store.put_document("one", _COLLECTION, space, "", document)

        began = time.perf_counter()
        await asyncio.gather(*(writer() for _ in range(_WRITERS)))
        return time.perf_counter() - began


async def _seconds_of_provider(provider: int, stored: Sequence[Sequence[StoredChunk]]) -> float:
    """How long the provider takes for as many vectors, as many at once as we ask for."""
    every = [chunk.text for chunks in stored for chunk in chunks]
    url = f"http://127.0.0.1:{provider}/v1/embeddings"
    starts = iter(range(0, len(every), _BATCH))
    async with aiohttp.ClientSession() as session:

        async def asker() -> None:
            for start in starts:
                body = {
                    "model": "text-embedding-3-small",
                    "input": every[start : start + _BATCH],
                    "encoding_format": "base64",
                }
                async with session.post(url, json=body) as response:
                    await response.read()

        began = time.perf_counter()
        await asyncio.gather(*(asker() for _ in range(_AT_ONCE)))
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
