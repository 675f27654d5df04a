"""Indexing many chunks takes no more memory than a few do: nothing of a run is kept."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb

from bench.cost.works import upstream
from tests.system.cluster import Cluster

CHUNKS = 20
"""How many chunks a document has."""
MOST_MEGABYTES = 500
SECONDS = 1500.0


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise AssertionError("the kernel does not tell")


def requests(documents: int) -> Iterator[pb.IndexDocumentsRequest]:
    options = document_pb2.IndexOptions(collection="large", chunk_tokens=64)
    yield pb.IndexDocumentsRequest(options=options)
    for number in range(documents):
        sentences = (
            f"Sentence {place} of document {number} tells of the river that flows through town "
            f"{number * place} and of the bridge that was built there in the year {place}. "
            "It goes on for some more words, so that it fills a chunk of its own, or nearly so."
            for place in range(CHUNKS)
        )
        text = "\n\n".join(sentences)
        document = document_pb2.Document(document_id=f"doc-{number:06}", text=text)
        yield pb.IndexDocumentsRequest(document=document)


@pytest.mark.parametrize(
    "chunks",
    [2_000, pytest.param(100_000, marks=[pytest.mark.full, pytest.mark.timeout(1800)])],
)
async def test_the_query_service_stays_small_however_much_is_indexed(
    tmp_path: Path, chunks: int
) -> None:
    async with upstream() as port:
        environ = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "OPENAI_API_KEY": "a-key-1",
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_EMBEDDING_MODEL": "text-embedding-3-small",
            "CASCADA_EMBEDDING_DIMENSIONS": "384",
            "CASCADA_LOG_LEVEL": "info",
        }
        async with Cluster(tmp_path, environ) as cluster:
            await cluster.serve("embedding")
            query = await cluster.serve("query")
            call = cluster.query.IndexDocuments(requests(chunks // CHUNKS), timeout=SECONDS)
            answers = 0
            async for answer in call:
                assert isinstance(answer, pb.IndexDocumentsResponse)
                answers += 1
                assert not answer.result.detail
            assert call.done()
            assert await call.code() is grpc.StatusCode.OK
            assert answer.summary.indexed == answers - 1 == chunks // CHUNKS
            assert answer.summary.chunks >= chunks
            assert peak_megabytes(query.process.pid) <= MOST_MEGABYTES
