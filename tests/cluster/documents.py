"""Documents of many passages, and whether what a cluster acknowledged of them is there, whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import grpc
from cascada.common.v1 import error_reason_pb2, retrieval_pb2
from cascada.query.v1 import document_pb2, query_service_pb2

from tests.cluster.calls import reason_of
from tests.cluster.cluster import Cluster
from tests.system.asking import index
from tests.system.cluster import CALL_SECONDS

FAILED = document_pb2.DOCUMENT_OUTCOME_FAILED

_SENTENCE = "The river of town {name} rises in the hills of region {place} and never runs dry."


@dataclass
class Indexed:
    """What became of documents."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    """Passages of each document that was said to be stored."""
    failed: list[str] = field(default_factory=list)
    """Why the others were not: our reasons, or what gRPC itself said."""


def texts(name: str, count: int, sentences: int = 40) -> dict[str, str]:
    """Documents whose ids begin with the name."""
    return {
        f"{name}-{number:04}": " ".join(
            _SENTENCE.format(name=f"{name}-{number}", place=place) for place in range(sentences)
        )
        for number in range(count)
    }


async def index_into(
    cluster: Cluster, collection: str, documents: Mapping[str, str], indexed: Indexed
) -> None:
    """Index documents in one stream, noting each that is acknowledged; a stream may break off."""
    try:
        async for answer in index(cluster.query, documents, collection):
            if not answer.HasField("result"):
                continue
            result = answer.result
            if result.outcome == FAILED:
                assert result.detail
                reason = error_reason_pb2.ErrorReason.Name(result.reason)
                indexed.failed.append(reason.removeprefix("ERROR_REASON_"))
            else:
                indexed.acknowledged[result.document_id] = result.chunk_count
    except grpc.aio.AioRpcError as error:
        indexed.failed.append(reason_of(error) or error.code().name)


async def stored(cluster: Cluster, collection: str, names: Iterable[str]) -> dict[str, int]:
    """How many passages of each document a search finds."""
    return {name: await _passages(cluster, collection, name) for name in names}


async def _passages(cluster: Cluster, collection: str, name: str) -> int:
    request = query_service_pb2.SearchRequest(
        query="river town region hills",
        retrieval=retrieval_pb2.Retrieval(
            collections=[collection],
            top_k=100,
            mode=retrieval_pb2.RETRIEVAL_MODE_DENSE,
            filter=retrieval_pb2.Filter(document_ids=[name]),
        ),
    )
    response = await cluster.query.Search(request, timeout=CALL_SECONDS)
    assert {hit.document_id for hit in response.hits} <= {name}
    return len({hit.chunk_id for hit in response.hits})
