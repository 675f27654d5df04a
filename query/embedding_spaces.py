"""The embedding spaces of a search: where each collection lives, and the query's vector there."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from query.retrieval import STORE_CALLS, Retrieval
from query.store import Collection, Store
from service_core.concurrency import gather_or_cancel
from service_core.deadline import Deadline
from service_core.request_context import RequestContext
from service_core.trace import Hop, HopReport, required


@dataclass(frozen=True, slots=True)
class SearchedSpace:
    """One embedding space and the collections that live in it."""

    pinned: PinnedSpace
    collections: tuple[str, ...]
    effective: EffectiveConfiguration


class EmbeddingSpaces:
    """Looks up the spaces of collections, and embeds queries through the embedding service."""

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
        calls = asyncio.Semaphore(STORE_CALLS)

        async def described(name: str) -> Collection | None:
            async with calls, store_errors_for():
                return await self._store.get_collection(tenant, name)

        found = await gather_or_cancel(map(described, collections))
        groups: dict[PinnedSpace, list[str]] = {}
        for name, collection in zip(collections, found, strict=True):
            if collection is None:
                raise CollectionNotFoundError(name)
            groups.setdefault(PinnedSpace(collection.space, collection.endpoint), []).append(name)
        return [(pinned, tuple(names)) for pinned, names in groups.items()]

    async def searched(
        self,
        retrieval: Retrieval,
        context: RequestContext,
        incoming: Incoming,
        snapshot: Snapshot,
    ) -> list[SearchedSpace]:
        """The spaces of a search; raises what is wrong with the request for any of them."""
        spaces = []
        for pinned, collections in await self.pinned(context.tenant_id, retrieval.collections):
            resolution = snapshot.resolve("embedding", context.tenant_id, incoming, pinned)
            if retrieval.needs_vector:
                required(SERVICE, resolution).check_space(pinned.space, collections[0])
            else:
                _require_but_for_the_space(resolution)
            spaces.append(SearchedSpace(pinned, collections, resolution.effective))
        return spaces

    async def embed(
        self,
        query: str,
        spaces: Sequence[SearchedSpace],
        context: RequestContext,
        deadline: Deadline,
    ) -> tuple[Mapping[str, bytes], tuple[Hop, ...]]:
        """The query's vector for each collection, and the reports of the hops."""
        embedded = await gather_or_cancel(
            self._embed_in(query, space, context, deadline) for space in spaces
        )
        vectors: dict[str, bytes] = {}
        hops: list[Hop] = []
        for space, (answer, report) in zip(spaces, embedded, strict=True):
            vectors.update(dict.fromkeys(space.collections, answer.vectors[0]))
            hops += [report, *answer.hops]
        return vectors, tuple(hops)

    async def _embed_in(
        self, query: str, space: SearchedSpace, context: RequestContext, deadline: Deadline
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
            if _is_too_long(error):
                # The next service speaks of its texts; the caller sent a question.
                hops, target = error.hops, space.effective.primary
                metadata = {
                    "provider": target.connection.provider.value,
                    "model": target.model,
                    **error.metadata,
                }
                metadata.pop("violations", None)
                error = RemoteError(
                    Reason.CONTEXT_TOO_LONG,
                    "The question is too long to be embedded for the search: shorten it, or search "
                    "by full text.",
                    metadata=metadata,
                )
                error.hops = hops
            error.hops = (report(), *error.hops)
            raise error from None
        return answer, report()


def _is_too_long(error: CascadaError) -> bool:
    """Whether the model, or the embedding service itself, takes no question as long as this."""
    return error.code_reason is Reason.CONTEXT_TOO_LONG or any(
        found.field == "texts[0]" for found in error.violations
    )


def unembedded(spaces: Sequence[SearchedSpace]) -> tuple[Hop, ...]:
    """The reports of a search that needs no vector."""
    return tuple(
        HopReport(SERVICE, space.effective, 0.0, collections=space.collections) for space in spaces
    )


def _require_but_for_the_space(resolution: Resolution) -> None:
    """Words are found in any space, be its endpoint gone; all else has to be right."""
    wrong = [
        found
        for found in resolution.violations
        if found.field != COLLECTIONS_FIELD and found not in resolution.of_space
    ]
    if wrong:
        raise error_of(wrong)
