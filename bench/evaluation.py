"""How often the right passage is among the first: the sample documents, and questions over them.

`make eval` runs it. The questions stand in docs/samples/evaluation.json, each with the passages
that answer it: a document, and words that the passage holds. Many ask in another language than the
document's, or in other words.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascada.common.v1 import retrieval_pb2
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from rich.console import Console
from rich.table import Table

from bench.pages import RETRIEVAL, publish
from tests.system.asking import index_all
from tests.system.cluster import CALL_SECONDS, Cluster

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "samples"
TOP_K = 5
MODES = {
    "dense": retrieval_pb2.RETRIEVAL_MODE_DENSE,
    "full text": retrieval_pb2.RETRIEVAL_MODE_FULL_TEXT,
    "hybrid": retrieval_pb2.RETRIEVAL_MODE_HYBRID,
}

_COLLECTION = "evaluation"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and the passages that answer it: document ids with words of the passage."""

    question: str
    language: str
    passages: tuple[tuple[str, str], ...]

    def rank(self, hits: Iterable[pb.Hit]) -> int | None:
        """The place of the first right passage among the hits, from 1; `None` without one."""
        for rank, hit in enumerate(hits, start=1):
            if any(hit.document_id == name and words in hit.text for name, words in self.passages):
                return rank
        return None


@dataclass(frozen=True, slots=True)
class Quality:
    """The figures of one mode over some questions."""

    hit_at_1: float
    hit_at_5: float
    reciprocal_rank: float
    """The mean of 1 / rank, 0 for a question whose passage is not found."""
    missed: tuple[str, ...]


def questions() -> list[Asked]:
    """The evaluation set."""
    entries = json.loads((SAMPLES / "evaluation.json").read_text("utf-8"))
    return [
        Asked(
            entry["question"],
            entry["language"],
            tuple((each["document_id"], each["contains"]) for each in entry["passages"]),
        )
        for entry in entries
    ]


async def ranks(
    query: QueryServiceStub, asked: Sequence[Asked]
) -> Mapping[str, Mapping[Asked, int | None]]:
    """Index the sample documents and ask everything in each mode: the rank of each question."""
    texts = {path.name: path.read_text("utf-8") for path in sorted(SAMPLES.glob("*.md"))}
    await index_all(query, texts, _COLLECTION)
    found: dict[str, dict[Asked, int | None]] = {}
    for name, mode in MODES.items():
        found[name] = {}
        for each in asked:
            retrieval = retrieval_pb2.Retrieval(collections=[_COLLECTION], top_k=TOP_K, mode=mode)
            request = pb.SearchRequest(query=each.question, retrieval=retrieval)
            response = await query.Search(request, timeout=CALL_SECONDS)
            found[name][each] = each.rank(response.hits)
    return found


def quality(ranked: Mapping[Asked, int | None]) -> Quality:
    """The figures of one mode."""
    places = [rank for rank in ranked.values() if rank is not None]
    return Quality(
        hit_at_1=sum(rank == 1 for rank in places) / len(ranked),
        hit_at_5=sum(rank <= TOP_K for rank in places) / len(ranked),
        reciprocal_rank=sum(1 / rank for rank in places) / len(ranked),
        missed=tuple(asked.question for asked, rank in ranked.items() if rank is None),
    )


def main() -> None:
    """Print the table and the questions that hybrid search misses; write the table down."""
    asked = questions()
    found = asyncio.run(_run(asked))
    documents = len(list(SAMPLES.glob("*.md")))
    table = Table(title=f"{len(asked)} questions over {documents} documents, top {TOP_K}")
    for column in ("search", "language"):
        table.add_column(column)
    for column in ("hit@1", "hit@5", "MRR"):
        table.add_column(column, justify="right")
    for mode, ranked in found.items():
        for language in ("es", "en", ""):
            some = {a: rank for a, rank in ranked.items() if language in ("", a.language)}
            figures = quality(some)
            numbers = (figures.hit_at_1, figures.hit_at_5, figures.reciprocal_rank)
            table.add_row(mode, language or "both", *(f"{number:.3f}" for number in numbers))
    publish(RETRIEVAL, "evaluation", table)
    for question in quality(found["hybrid"]).missed:
        Console().print(f"hybrid misses: {question}")


async def _run(asked: Sequence[Asked]) -> Mapping[str, Mapping[Asked, int | None]]:
    with tempfile.TemporaryDirectory() as folder:
        async with Cluster(Path(folder)) as cluster:
            await cluster.serve_all()
            return await ranks(cluster.query, asked)
