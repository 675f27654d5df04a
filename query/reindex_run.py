"""The run of one reindexing: its documents, its calls, its time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from config_core.effective import EffectiveConfiguration
from config_core.errors import CascadaError, EmbeddingSpaceMismatchError, Reason, RemoteError
from config_core.forward import Forwarded
from query.embedding_batches import EmbeddingBatches, limits_of
from query.embedding_client import Embedded, EmbeddingPort
from query.name import SERVICE
from query.passages import embedded_text
from query.reindexing import ReindexOptions, ReindexSummary
from query.staging import Staging
from query.store import StoredDocument
from service_core.deadline import Deadline
from service_core.trace import Hop, HopReport

DOCUMENTS_IN_FLIGHT = 256
"""So many that small documents fill the calls to the embedding model."""
CHUNKS_IN_FLIGHT = 4096
"""So few that their texts and vectors stay below 60 MB; a document of more goes alone."""
_VANISHED_AT_ONCE = 1000


class ReindexRun:
    """One request's way through the documents that are not in the new space yet."""

    def __init__(
        self,
        options: ReindexOptions,
        effective: EffectiveConfiguration,
        embeddings: EmbeddingPort,
        forwarded: Forwarded,
        summary: ReindexSummary,
    ) -> None:
        self.summary = summary
        self.last_hops: tuple[Hop, ...] = ()
        self.there = 0
        """How many documents are in the new space."""
        self._options = options
        self._effective = effective
        self._embeddings = embeddings
        self._forwarded = forwarded
        self._began = asyncio.get_running_loop().time()
        self._callers_deadline = Deadline.of_caller(options.time_remaining)

    def report(self) -> HopReport:
        """The report of this hop."""
        return HopReport(
            SERVICE,
            self._effective,
            asyncio.get_running_loop().time() - self._began,
            collections=(self._options.collection,),
        )

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed passages in one call, within its own limit or the end of the request."""
        own = Deadline.after(self._effective.timeout_seconds)
        embedded = await self._embeddings.embed(
            texts,
            query=False,
            forwarded=self._forwarded,
            context=self._options.context,
            deadline=min(own, self._callers_deadline),
        )
        self.summary.usage += embedded.usage
        self.last_hops = embedded.hops
        return embedded

    async def catch_up(self, staging: Staging) -> AsyncGenerator[None, None]:
        """Bring over what differs, several documents at once; yields whenever one is stored."""
        limits = limits_of(self._effective.primary)
        batches = EmbeddingBatches(self.embed, limits, self._options.collection)
        running: dict[asyncio.Task[None], int] = {}
        try:
            async with aclosing(self._documents(staging)) as documents:
                async for document in documents:
                    chunks = document.chunk_count
                    while running and (
                        len(running) == DOCUMENTS_IN_FLIGHT
                        or sum(running.values()) + chunks > CHUNKS_IN_FLIGHT
                    ):
                        await _first_of(running)
                        yield
                    task = asyncio.create_task(self._bring(document, staging, batches))
                    running[task] = chunks
            while running:
                await _first_of(running)
                yield
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            await batches.aclose()

    async def _documents(self, staging: Staging) -> AsyncGenerator[StoredDocument, None]:
        """The documents that differ; takes out those that are gone."""
        vanished = list[str]()
        async with aclosing(staging.differences()) as differences:
            async for document_id, document in differences:
                if document is not None:
                    yield document
                    continue
                vanished.append(document_id)
                if len(vanished) == _VANISHED_AT_ONCE:
                    self.there -= await staging.remove(vanished)
                    vanished.clear()
        if vanished:
            self.there -= await staging.remove(vanished)

    async def _bring(
        self, document: StoredDocument, staging: Staging, batches: EmbeddingBatches
    ) -> None:
        chunks = await staging.passages(document)
        if chunks is None:
            return  # a later round finds its new version
        texts = [embedded_text(document.title, chunk.section, chunk.text) for chunk in chunks]
        try:
            space, vectors = await batches.embed(texts)
        except CascadaError as error:
            if error.code_reason is Reason.CONTEXT_TOO_LONG:
                raise self._too_long(document, error) from None
            raise
        if space != self.summary.space:
            raise EmbeddingSpaceMismatchError(self._options.collection, self.summary.space, space)
        replaced = await staging.put(document, chunks, vectors)
        self.there += not replaced
        self.summary.documents += 1
        self.summary.chunks += len(chunks)

    def _too_long(self, document: StoredDocument, error: CascadaError) -> RemoteError:
        found = RemoteError(
            Reason.CONTEXT_TOO_LONG,
            f"A passage of document {document.document_id!r} is too long for "
            f"{self._effective.primary.model}: index the document with smaller passages, or choose "
            "a model that takes longer ones.",
            metadata={
                **{name: value for name, value in error.metadata.items() if name != "index"},
                "collection": self._options.collection,
                "document_id": document.document_id,
            },
        )
        found.hops = error.hops
        return found


async def _first_of(running: dict[asyncio.Task[None], int]) -> None:
    """Wait until one has ended, and let go of those that have; raises what one raised."""
    ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        del running[task]
    failures = [failure for task in ended if (failure := task.exception()) is not None]
    if failures:
        raise failures[0]
