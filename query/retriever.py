"""Retrieves: the query's vector in each space, the search, and the choice among what it finds."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from config_core.errors import CascadaError, EmbeddingSpaceMismatchError
from config_core.snapshot import Snapshot
from config_core.sources.request import Incoming
from query.diversity import diverse
from query.embedding_spaces import EmbeddingSpaces, SearchedSpace, unembedded
from query.errors import store_errors_for
from query.folding import folded, merged
from query.neighbours import widened
from query.reranking import Reranking
from query.retrieval import STORE_CALLS, Found, Retrieval, Retrieved
from query.store import SearchMode, SearchQuery, Store
from query.store.model import MAX_TOP_K
from service_core.concurrency import gather_or_cancel
from service_core.deadline import Deadline
from service_core.request_context import RequestContext
from service_core.trace import Hop

_DEEPER = 4
"""How many times as many hits are asked for where too few were left once duplicates were folded."""
_MOST_HITS = 4000
"""How many hits of all collections together are looked at for that: they may carry vectors."""


@dataclass(frozen=True, slots=True)
class _Search:
    """One search on its way through."""

    query: str
    retrieval: Retrieval
    context: RequestContext
    incoming: Incoming
    snapshot: Snapshot
    calls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STORE_CALLS))
    hops: list[Hop] = field(default_factory=list)


class Retriever:
    """Finds passages over one store, through the embedding service."""

    def __init__(self, store: Store, spaces: EmbeddingSpaces) -> None:
        self._store = store
        self._spaces = spaces

    async def search(
        self,
        query: str,
        retrieval: Retrieval,
        context: RequestContext,
        incoming: Incoming,
        snapshot: Snapshot,
        deadline: Deadline,
        reranking: Reranking | None = None,
        *,
        alone: bool = False,
    ) -> Retrieved:
        """Search all collections.

        `deadline` is that of the request; a search `alone`, without an answer, takes no longer than
        its embedding configuration allows either. `reranking` orders the candidates where the
        retrieval asks for it.
        """
        search = _Search(query, retrieval, context, incoming, snapshot)
        async with deadline.timeout():
            searched = await self._spaces.searched(retrieval, context, incoming, snapshot)
        if alone:
            limit = min(space.effective.timeout_seconds for space in searched)
            deadline = min(deadline, Deadline.after(limit))
        try:
            async with deadline.timeout():
                passages, spaces = await self._candidates(search, searched, deadline)
                if reranking is not None:
                    passages, hops = await reranking.order(query, passages, retrieval, deadline)
                    search.hops.extend(hops)
                chosen = await self._chosen(search, passages, spaces)
        except CascadaError as error:
            error.hops = (*search.hops, *error.hops)
            raise
        return Retrieved(tuple(chosen), tuple(search.hops))

    async def _candidates(
        self, search: _Search, spaces: Sequence[SearchedSpace], deadline: Deadline
    ) -> tuple[list[Found], Sequence[SearchedSpace]]:
        """The passages to choose from, best first, and the spaces that they were found in."""
        vectors = await self._embed(search, spaces, deadline)
        try:
            return await self._found(search, spaces, vectors), spaces
        except EmbeddingSpaceMismatchError:
            # A collection was embedded anew after its space was looked up: once more, from there.
            spaces = await self._spaces.searched(
                search.retrieval, search.context, search.incoming, search.snapshot
            )
        vectors = await self._embed(search, spaces, deadline)
        return await self._found(search, spaces, vectors), spaces

    async def _embed(
        self, search: _Search, spaces: Sequence[SearchedSpace], deadline: Deadline
    ) -> Mapping[str, bytes]:
        """The query's vector for each collection; none where none is needed."""
        if not search.retrieval.needs_vector:
            search.hops.extend(unembedded(spaces))
            return {}
        vectors, hops = await self._spaces.embed(search.query, spaces, search.context, deadline)
        search.hops.extend(hops)
        return vectors

    async def _found(
        self, search: _Search, spaces: Sequence[SearchedSpace], vectors: Mapping[str, bytes]
    ) -> list[Found]:
        """The best candidates, duplicates folded; EmbeddingSpaceMismatchError from the store."""
        retrieval = search.retrieval
        space_of = {name: space.pinned.space for space in spaces for name in space.collections}
        asked = retrieval.candidates
        most = min(MAX_TOP_K, max(asked, _MOST_HITS // len(retrieval.collections)))

        async def search_one(collection: str) -> list[Found]:
            query = SearchQuery(
                mode=retrieval.mode,
                top_k=asked,
                vector=vectors.get(collection),
                text=None if retrieval.mode is SearchMode.DENSE else search.query,
                filter=retrieval.filter,
                space=space_of[collection],
                threshold=retrieval.similarity_threshold,
                with_vectors=retrieval.mmr_lambda is not None,
            )
            async with search.calls, store_errors_for(collection):
                hits = await self._store.search(search.context.tenant_id, collection, query)
            return [Found(collection, hit) for hit in hits]

        while True:
            lists = await gather_or_cancel(map(search_one, retrieval.collections))
            passages = folded(merged(lists))
            exhausted = all(len(each) < asked for each in lists)
            if len(passages) >= retrieval.candidates or exhausted or asked == most:
                return passages[: retrieval.candidates]
            asked = min(_DEEPER * asked, most)

    async def _chosen(
        self, search: _Search, passages: list[Found], spaces: Sequence[SearchedSpace]
    ) -> list[Found]:
        """The passages to return."""
        retrieval = search.retrieval
        chosen = passages[: retrieval.top_k]
        if retrieval.mmr_lambda is not None:
            space_of = {name: space.pinned.space for space in spaces for name in space.collections}
            chosen = await asyncio.to_thread(
                diverse, passages, retrieval.top_k, retrieval.mmr_lambda, space_of
            )
        if retrieval.neighbours:
            chosen = await widened(
                self._store,
                search.context.tenant_id,
                chosen,
                retrieval.neighbours,
                search.calls,
            )
        return chosen
