"""The three ways to search one collection: ranked by the server, checked and fused here."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from query.store.analysis import query_terms
from query.store.errors import CollectionNotFoundError, SpaceMismatchError, StoreUnavailableError
from query.store.fusion import fuse, fusion_depth
from query.store.milvus.candidates import Candidate, Trust
from query.store.milvus.catalog import Catalog, Scope
from query.store.milvus.connection import Connection, Row
from query.store.milvus.documents import Documents
from query.store.milvus.filters import expressions
from query.store.milvus.keys import any_of, both, equal
from query.store.milvus.memory import Memory
from query.store.milvus.passages import contents
from query.store.milvus.pieces import lines
from query.store.milvus.ranking import Ranking
from query.store.milvus.tables import Tables
from query.store.milvus.words import encoded
from query.store.model import Hit, SearchMode, SearchQuery, StoredChunk
from query.store.vector import normalised

_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class _Found:
    """A passage in its place."""

    candidate: Candidate
    score: float


class Search:
    """Searches, and once more where what it saw has changed under its hands."""

    def __init__(
        self, connection: Connection, tables: Tables, catalog: Catalog, documents: Documents
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._catalog = catalog
        self._documents = documents
        self._scopes: Memory[tuple[str, str], Scope] = Memory()

    async def hits(self, tenant: str, name: str, query: SearchQuery) -> list[Hit]:
        """The best `top_k` passages; equal scores are ordered by dense score, then chunk id."""
        scope = await self._likely(tenant, name, query)
        for attempt in range(1, _ATTEMPTS + 1):
            trust = Trust(self._documents, scope, query.filter)
            best = await self._best(scope, query, trust)
            if not trust.complete and attempt < _ATTEMPTS:
                continue
            entry, passages = await asyncio.gather(
                self._catalog.find(tenant, name), self._passages(scope, best, query)
            )
            if entry.scope is None:
                raise CollectionNotFoundError(name)
            self._scopes.set((tenant, name), entry.scope)
            if entry.scope == scope and len(passages) == len(best):
                return [_hit(found, trust, *passages[found.candidate.id], query) for found in best]
            scope = entry.scope
        raise StoreUnavailableError(
            "The collection changes faster than it can be searched; try again."
        )

    async def _likely(self, tenant: str, name: str, query: SearchQuery) -> Scope:
        """What the name meant last, if the query fits to that; it is looked up in the end."""
        scope = self._scopes.get((tenant, name))
        if scope is None or _misfit(scope, query):
            scope = await self._catalog.require(tenant, name)
        return scope

    async def _best(self, scope: Scope, query: SearchQuery, trust: Trust) -> list[_Found]:
        if query.space is not None and query.space != scope.space:
            raise SpaceMismatchError(expected=scope.space, actual=query.space)
        vector = None
        if query.vector is not None:
            vector = normalised(query.vector, scope.space.dimensions)
        table = await self._tables.chunks(scope.space.dimensions)
        if query.mode is not SearchMode.DENSE and not table.full_text:
            raise StoreUnavailableError(
                "This Milvus server has no full text: use Milvus 2.5 or a later one with a new "
                "database, or search by meaning only."
            )
        filters = expressions(query.filter)
        if filters is None:
            return []
        hybrid = query.mode is SearchMode.HYBRID
        ranking = Ranking(
            connection=self._connection,
            table=table.name,
            expression=both(
                equal("tenant", scope.tenant), equal("generation", scope.generation), *filters
            ),
            vector=vector,
            count=fusion_depth(query.top_k) if hybrid else query.top_k,
            threshold=query.threshold,
            trust=trust,
        )
        searches = []
        if query.mode is not SearchMode.FULL_TEXT and vector is not None:
            searches.append(ranking.dense(vector))
        if query.mode is not SearchMode.DENSE and query.text is not None:
            words = lines(encoded(query_terms(query.text)))[0]
            if words:
                searches.append(ranking.words(words))
        return _merged(await asyncio.gather(*searches), query.top_k, hybrid=hybrid)

    async def _passages(
        self, scope: Scope, best: Sequence[_Found], query: SearchQuery
    ) -> dict[str, tuple[StoredChunk, Row]]:
        if not best:
            return {}
        table = await self._tables.chunks(scope.space.dimensions)
        wanted = any_of("id", (found.candidate.id for found in best))
        fields = ("vector",) if query.with_vectors else ()
        return await contents(self._connection, table, wanted, *fields)


def _misfit(scope: Scope, query: SearchQuery) -> bool:
    if query.space is not None and query.space != scope.space:
        return True
    return query.vector is not None and len(query.vector) != 4 * scope.space.dimensions


def _merged(rankings: Sequence[list[Candidate]], top_k: int, *, hybrid: bool) -> list[_Found]:
    candidates: dict[str, Candidate] = {}
    for ranking in rankings:
        for each in ranking:
            candidates.setdefault(each.id, each)
    if hybrid:
        scores = fuse(*([each.id for each in ranking] for ranking in rankings))
    else:
        scores = {key: each.score for key, each in candidates.items()}

    def place(key: str) -> tuple[float, float, str]:
        each = candidates[key]
        return -scores[key], -(each.similarity or 0.0), each.chunk_id

    return [_Found(candidates[key], scores[key]) for key in sorted(scores, key=place)[:top_k]]


def _hit(found: _Found, trust: Trust, chunk: StoredChunk, row: Row, query: SearchQuery) -> Hit:
    document = trust.versions[found.candidate.document].stored
    vector = None
    if query.with_vectors:
        vector = np.asarray(row["vector"], "<f4").tobytes()
    return Hit(
        chunk_id=chunk.chunk_id,
        document_id=document.document_id,
        title=document.title,
        text=chunk.text,
        score=found.score,
        dense_score=found.candidate.similarity,
        metadata=document.metadata,
        section=chunk.section,
        start=chunk.start,
        end=chunk.end,
        position=chunk.position,
        vector=vector,
    )
