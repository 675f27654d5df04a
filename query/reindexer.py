"""Reindexes: embeds a collection's passages anew in another space, and switches to it at once."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from config_core.errors import CascadaError
from config_core.forward import forward
from config_core.snapshot import Snapshots
from query.embedding_client import EmbeddingPort
from query.name import SERVICE
from query.reindex_run import ReindexRun
from query.reindexing import ReindexOptions, ReindexProgress, ReindexSummary
from query.staging import Staging, serving
from query.store import Collection, Store
from service_core.trace import required

_ANY_TEXT = "text"
"""Embedded first: it tells the space, and whether the model can be called at all."""


class Reindexer:
    """Moves collections into other embedding spaces.

    The new collection is built beside the old one, which serves searches and takes writes. What is
    written meanwhile is brought over in further rounds, until the store finds both alike and
    switches. Runs share nothing but the store: one that broke off is continued by the next, and
    several at once only do the same work twice.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        store: Store,
        embeddings: EmbeddingPort,
        *,
        attach_credentials: bool = False,
    ) -> None:
        self._snapshots = snapshots
        self._store = store
        self._embeddings = embeddings
        self._attach_credentials = attach_credentials

    async def reindex(
        self, options: ReindexOptions
    ) -> AsyncGenerator[ReindexProgress | ReindexSummary, None]:
        """Give the progress, and last, once the new space is in force, the summary."""
        tenant, collection = options.context.tenant_id, options.collection
        # The request decides the space, not the collection: hence no pinned one.
        effective = required(
            SERVICE, self._snapshots.current.resolve("embedding", tenant, options.incoming)
        )
        before = (await serving(self._store, tenant, collection)).space
        run = ReindexRun(
            options,
            effective,
            self._embeddings,
            forward([effective], attach_credentials=self._attach_credentials),
            ReindexSummary(before, before),
        )
        try:
            if effective.space != before:
                probe = await run.embed([_ANY_TEXT])
                run.summary.space = probe.space
            if run.summary.space != before:
                endpoint = effective.primary.connection.endpoint
                staging = Staging(self._store, tenant, collection, probe.space, endpoint)
                async with aclosing(_switch(run, staging, probe.vectors[0])) as steps:
                    async for progress in steps:
                        yield progress
        except CascadaError as error:
            error.hops = (run.report(), *error.hops)
            raise
        run.summary.hops = (run.report(), *run.last_hops)
        yield run.summary


async def _switch(
    run: ReindexRun, staging: Staging, vector: bytes
) -> AsyncGenerator[ReindexProgress, None]:
    """Build the new collection until it is as the old one, and let it take its place."""
    run.there = await staging.begin()
    while True:
        now = await staging.serving()
        if now.space == run.summary.space:
            await staging.drop()  # another run was faster, and this one has begun once more
            return
        yield _progress(run, now)
        async with aclosing(run.catch_up(staging)) as steps:
            async for _ in steps:
                yield _progress(run, now)
        if await staging.promote(vector):
            return


def _progress(run: ReindexRun, now: Collection) -> ReindexProgress:
    # Another run at the same time makes the count of this one go wrong.
    return ReindexProgress(min(run.there, now.document_count), now.document_count)
