"""Retrieves: which space each collection lives in, the query's vector in each, and the search."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from config_core.effective import EffectiveConfiguration
from config_core.errors import (
    CascadaError,
    CollectionNotFoundError,
    EmbeddingSpaceMismatchError,
    Reason,
    RemoteError,
)
from config_core.forward import forward
from config_core.resolve import Resolution, error_of
from config_core.snapshot import Snapshot
from config_core.sources.collection import PinnedSpace
from config_core.sources.request import Incoming
from config_core.walk import COLLECTIONS_FIELD
from query.embedding_client import Embedded, EmbeddingPort
from query.errors import store_errors_for
from query.name import SERVICE
from query.retrieval import Found, Retrieval, Retrieved
from query.store import SearchMode, SearchQuery, Store
from service_core.concurrency import gather_or_cancel
from service_core.deadline import Deadline
from service_core.request_context import RequestContext
from service_core.trace import Hop, HopReport, required

_SPARE = 4
"""How many times top_k is looked at where a threshold may drop some."""
_RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class _Space:
    """One embedding space and the collections that live in it."""

    pinned: PinnedSpace
    collections: tuple[str, ...]
    effective: EffectiveConfiguration


class Retriever:
    """Finds passages over one store, through the embedding service."""

    def __init__(
        self, store: Store, embeddings: EmbeddingPort, *, attach_credentials: bool = False
    ) -> None:
        self._store = store
        self._embeddings = embeddings
        self._attach_credentials = attach_credentials

    async def pinned(
        self, tenant: str, collections: Sequence[str]
    ) -> list[tuple[PinnedSpace, tuple[str, ...]]]:
        """The spaces of collections, each with those that share it; CollectionNotFoundError."""
        async with store_errors_for():
            found = await gather_or_cancel(
                self._store.get_collection(tenant, name) for name in collections
            )
        groups: dict[PinnedSpace, list[str]] = {}
        for name, collection in zip(collections, found, strict=True):
            if collection is None:
                raise CollectionNotFoundError(name)
            groups.setdefault(PinnedSpace(collection.space, collection.endpoint), []).append(name)
        return [(pinned, tuple(names)) for pinned, names in groups.items()]

    async def search(
        self,
        query: str,
        retrieval: Retrieval,
        context: RequestContext,
        incoming: Incoming,
        snapshot: Snapshot,
        budget: Deadline | float | None,
    ) -> Retrieved:
        """Search all collections.

        `budget` is the deadline of the request that the search is a part of; for a search by
        itself what the caller's deadline leaves, in seconds, or `None` without one.
        """
        spaces = []
        for pinned, collections in await self.pinned(context.tenant_id, retrieval.collections):
            resolution = snapshot.resolve("embedding", context.tenant_id, incoming, pinned)
            if retrieval.needs_vector:
                required(SERVICE, resolution).check_space(pinned.space, collections[0])
            else:
                _require_but_for_the_space(resolution)
            spaces.append(_Space(pinned, collections, resolution.effective))
        if isinstance(budget, Deadline):
            deadline = budget
        else:
            limit = min(space.effective.timeout_seconds for space in spaces)
            deadline = Deadline.from_context(budget, limit)
        hops: tuple[Hop, ...] = ()
        try:
            async with deadline.timeout():
                vectors, hops = await self._embed(query, retrieval, spaces, context, deadline)
                passages = await self._search(query, retrieval, context.tenant_id, vectors)
        except CascadaError as error:
            error.hops = (*hops, *error.hops)
            raise
        return Retrieved(passages, hops)

    async def _embed(
        self,
        query: str,
        retrieval: Retrieval,
        spaces: Sequence[_Space],
        context: RequestContext,
        deadline: Deadline,
    ) -> tuple[Mapping[str, bytes | None], tuple[Hop, ...]]:
        """The query's vector for each collection, and the reports of the hops."""
        if not retrieval.needs_vector:
            reports = (
                HopReport(SERVICE, space.effective, 0.0, collections=space.collections)
                for space in spaces
            )
            return dict.fromkeys(retrieval.collections), tuple(reports)
        embedded = await gather_or_cancel(
            self._embed_in(query, space, context, deadline) for space in spaces
        )
        vectors: dict[str, bytes | None] = {}
        hops: list[Hop] = []
        for space, (answer, report) in zip(spaces, embedded, strict=True):
            vectors.update(dict.fromkeys(space.collections, answer.vectors[0]))
            hops += [report, *answer.hops]
        return vectors, tuple(hops)

    async def _embed_in(
        self, query: str, space: _Space, context: RequestContext, deadline: Deadline
    ) -> tuple[Embedded, HopReport]:
        began = time.monotonic()

        def report() -> HopReport:
            return HopReport(
                SERVICE,
                space.effective,
                time.monotonic() - began,
                collections=space.collections,
                space=space.pinned.space,
            )

        try:
            answer = await self._embeddings.embed(
                [query],
                query=True,
                forwarded=forward([space.effective], attach_credentials=self._attach_credentials),
                context=context,
                deadline=deadline,
            )
            if answer.space != space.pinned.space:
                raise EmbeddingSpaceMismatchError(
                    space.collections[0], space.pinned.space, answer.space
                )
        except CascadaError as error:
            if error.code_reason is Reason.CONTEXT_TOO_LONG:
                # The next service speaks of its texts; the caller sent a question.
                hops = error.hops
                error = RemoteError(
                    Reason.CONTEXT_TOO_LONG,
                    "The question is too long to be embedded for the search: shorten it, or search "
                    "by full text.",
                    metadata=error.metadata,
                )
                error.hops = hops
            error.hops = (report(), *error.hops)
            raise error from None
        return answer, report()

    async def _search(
        self,
        query: str,
        retrieval: Retrieval,
        tenant: str,
        vectors: Mapping[str, bytes | None],
    ) -> tuple[Found, ...]:
        threshold = retrieval.similarity_threshold
        wanted = retrieval.top_k if threshold is None else retrieval.top_k * _SPARE

        async def search_one(collection: str) -> list[Found]:
            async with store_errors_for(collection):
                hits = await self._store.search(
                    tenant,
                    collection,
                    SearchQuery(
                        mode=retrieval.mode,
                        top_k=wanted,
                        vector=vectors[collection],
                        text=None if retrieval.mode is SearchMode.DENSE else query,
                        filter=retrieval.filter,
                    ),
                )
            return [
                Found(collection, hit)
                for hit in hits
                if threshold is None or (hit.dense_score or 0.0) >= threshold
            ]

        lists = await gather_or_cancel(map(search_one, retrieval.collections))
        return tuple(_merged(lists)[: retrieval.top_k])


def _merged(lists: Sequence[list[Found]]) -> list[Found]:
    """One list as it is; several by rank, since their scores may come from different spaces."""
    if len(lists) == 1:
        return lists[0]
    ranked = [
        Found(found.collection, replace(found.hit, score=1 / (_RANK_CONSTANT + rank)))
        for each in lists
        for rank, found in enumerate(each, start=1)
    ]
    return sorted(
        ranked,
        key=lambda found: (-found.hit.score, -(found.hit.dense_score or 0.0), found.collection),
    )


def _require_but_for_the_space(resolution: Resolution) -> None:
    """Words are found in any space, be its endpoint gone; all else has to be right."""
    wrong = [found for found in resolution.violations if found.field != COLLECTIONS_FIELD]
    if wrong:
        raise error_of(wrong)
