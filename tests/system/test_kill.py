"""The query service is killed while it indexes: what it acknowledged stays, and nothing is half."""

import asyncio
import random
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from cascada.common.v1 import retrieval_pb2
from cascada.query.v1 import document_pb2, query_service_pb2

from tests.system.asking import UPSTREAM_MODELS, base_urls, index, index_all
from tests.system.cluster import CALL_SECONDS, Cluster
from tests.system.program import Program
from tests.upstream.server import UpstreamServer

INDEXED = document_pb2.DOCUMENT_OUTCOME_INDEXED
UNCHANGED = document_pb2.DOCUMENT_OUTCOME_UNCHANGED


def texts(count: int) -> Mapping[str, str]:
    """Documents of one to many chunks."""
    sentence = "The river of town {number} rises in the hills of region {place} and never runs dry."
    return {
        f"doc-{number:03}": " ".join(
            sentence.format(number=number, place=place) for place in range(1 + 7 * (number % 9))
        )
        for number in range(count)
    }


async def index_until_killed(
    cluster: Cluster, program: Program, documents: Mapping[str, str], after: int, delay: float
) -> dict[str, int]:
    """Kill the process `delay` seconds after it acknowledged `after` new documents.

    Gives the chunk count of each document that was acknowledged.
    """
    acknowledged: dict[str, int] = {}
    new = 0
    killing: asyncio.Task[None] | None = None

    async def kill() -> None:
        await asyncio.sleep(delay)
        program.signal(signal.SIGKILL)

    with suppress(grpc.aio.AioRpcError):
        async for answer in index(cluster.query, documents):
            assert answer.HasField("result"), "the summary came before the kill"
            acknowledged[answer.result.document_id] = answer.result.chunk_count
            new += answer.result.outcome == INDEXED
            if new == after and killing is None:
                killing = asyncio.create_task(kill())
    assert killing is not None
    await killing
    assert await program.ended() == -signal.SIGKILL
    return acknowledged


async def stored_chunks(cluster: Cluster, documents: Mapping[str, str]) -> dict[str, int]:
    """How many chunks of each document are found; without those that have none."""

    async def found(name: str) -> int:
        request = query_service_pb2.SearchRequest(
            query="river town region hills",
            retrieval=retrieval_pb2.Retrieval(
                collections=["countries"],
                top_k=100,
                mode=retrieval_pb2.RETRIEVAL_MODE_DENSE,
                filter=retrieval_pb2.Filter(document_ids=[name]),
            ),
        )
        response = await cluster.query.Search(request, timeout=CALL_SECONDS)
        assert {hit.document_id for hit in response.hits} <= {name}
        return len({hit.chunk_id for hit in response.hits})

    counts = {name: await found(name) for name in documents}
    return {name: count for name, count in counts.items() if count}


async def counts(cluster: Cluster, collection: str) -> tuple[int, int]:
    """Documents and chunks of a collection."""
    request = query_service_pb2.GetCollectionRequest(collection=collection)
    response = await cluster.query.GetCollection(request, timeout=CALL_SECONDS)
    return response.collection.document_count, response.collection.chunk_count


@pytest.mark.parametrize(
    ("kills", "most", "count"),
    [
        (3, 20, 600),
        pytest.param(50, 9, 4000, marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    ],
)
async def test_a_kill_loses_nothing_acknowledged_and_leaves_nothing_half(
    tmp_path: Path, upstream: UpstreamServer, kills: int, most: int, count: int
) -> None:
    documents = texts(count)
    environ = {**UPSTREAM_MODELS, **base_urls(upstream), "OPENAI_API_KEY": "a-key-1"}
    async with Cluster(tmp_path, environ) as cluster:
        await cluster.serve("embedding")
        program = await cluster.serve("query")
        whole = {
            answer.result.document_id: answer.result.chunk_count
            async for answer in index(cluster.query, documents, "fresh")
            if answer.HasField("result")
        }
        assert len(whole) == count
        assert max(whole.values()) > 3

        acknowledged: dict[str, int] = {}
        for _ in range(kills):
            after = random.randint(1, most)  # noqa: S311 # any moment will do
            delay = random.uniform(0, 0.03)  # noqa: S311
            acknowledged |= await index_until_killed(cluster, program, documents, after, delay)
            program = await cluster.serve("query")
            stored = await stored_chunks(cluster, documents)
            where = f"killed {delay:.4f} s after {after} documents"
            assert stored.items() >= acknowledged.items(), where
            assert stored.items() <= whole.items(), where
        assert len(acknowledged) < count

        outcomes = {
            answer.result.document_id: answer.result.outcome
            async for answer in index(cluster.query, documents)
            if answer.HasField("result")
        }
        assert {outcomes[name] for name in acknowledged} == {UNCHANGED}
        assert set(outcomes.values()) == {UNCHANGED, INDEXED}
        assert await stored_chunks(cluster, documents) == whole
        assert await counts(cluster, "countries") == await counts(cluster, "fresh")
        summary = await index_all(cluster.query, documents)
        assert (summary.indexed, summary.unchanged) == (0, count)
