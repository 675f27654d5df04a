"""The server's two rankings of one collection's passages, page by page, with what counts kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from query.store.milvus.candidates import Candidate, Trust
from query.store.milvus.connection import Connection, Row
from query.store.milvus.keys import both
from query.store.milvus.passages import first_row_of

MOST_RANKED = 16_384
"""Milvus ranks no more rows than this in one search."""

_PAGE = 1000
_LEAST_EFFORT = 128
_FIELDS = ("document", "version", "chunk_id")


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is to be ranked in one attempt at a search."""

    connection: Connection
    table: str
    expression: str
    """Which rows are the collection's and may fit."""
    vector: bytes | None
    """The query's, of length one; gives what is found by words its similarity."""
    count: int
    threshold: float | None
    trust: Trust

    async def dense(self, vector: bytes) -> list[Candidate]:
        """The best by cosine similarity."""
        # Only first rows: the others repeat the vector.
        return await self._ranked("vector", _floats(vector), both(self.expression, "part == 0"))

    async def words(self, words: str) -> list[Candidate]:
        """The best by bm25 as the server computes it."""
        return await self._ranked("bm25", words, self.expression)

    async def _ranked(
        self, field: str, target: Sequence[float] | str, expression: str
    ) -> list[Candidate]:
        """The best `count` that count, fit and pass the threshold; equal scores by chunk id.

        The server cuts its ranking without regard for any of that. Page after page is fetched
        until enough is kept, and whoever shares the last place is there.
        """
        dense = field == "vector"
        fields = _FIELDS if dense or self.vector is None else (*_FIELDS, "vector")
        kept: list[Candidate] = []
        seen: set[str] = set()
        offset, limit = 0, min(self.count + 1, MOST_RANKED)
        while True:
            page = await self.connection.rank(
                self.table,
                target,
                fields,
                anns_field=field,
                filter=expression,
                search_params=_parameters(offset + limit, dense=dense),
                offset=offset,
                limit=limit,
            )
            found = [self._candidate(score, row, dense=dense) for score, row in page]
            kept += await self.trust.kept(self._passing(found, seen))
            last = found[-1].score if found else 0.0
            offset += limit
            if len(page) < limit or offset >= MOST_RANKED or not self.trust.complete:
                break
            if len(kept) >= self.count and last < kept[self.count - 1].score:
                break
            if dense and self.threshold is not None and last < self.threshold:
                break
            limit = min(_PAGE, MOST_RANKED - offset)
        return sorted(kept, key=lambda each: (-each.score, each.chunk_id))[: self.count]

    def _passing(self, found: Sequence[Candidate], seen: set[str]) -> list[Candidate]:
        """Those of a page that are new and pass; of a passage of several rows the best row."""
        passing = []
        for each in found:
            if each.id not in seen:
                seen.add(each.id)
                if self.threshold is None or (each.similarity or 0.0) >= self.threshold:
                    passing.append(each)
        return passing

    def _candidate(self, score: float, row: Row, *, dense: bool) -> Candidate:
        # The small server gives bm25 the other sign; which is better, the order says.
        score = max(-1.0, min(1.0, score)) if dense else abs(score)
        similarity: float | None = score
        if not dense:
            similarity = None if self.vector is None else _cosine(self.vector, row["vector"])
        return Candidate(
            id=first_row_of(row["id"]),
            document=row["document"],
            version=row["version"],
            chunk_id=row["chunk_id"],
            score=score,
            similarity=similarity,
        )


def _parameters(reach: int, *, dense: bool) -> dict[str, Any]:
    if dense:
        return {"metric_type": "COSINE", "params": {"ef": max(_LEAST_EFFORT, 2 * reach)}}
    return {"metric_type": "BM25"}


def _floats(vector: bytes) -> list[float]:
    found: list[float] = np.frombuffer(vector, dtype="<f4").tolist()
    return found


def _cosine(vector: bytes, other: Sequence[float]) -> float:
    """The cosine similarity of two vectors of length one, within [-1, 1]."""
    product = np.frombuffer(vector, dtype="<f4").astype(np.float64) @ np.asarray(other, np.float64)
    return max(-1.0, min(1.0, float(product)))
