"""The run of one stream of documents: its tasks, its results, its time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from config_core.effective import EffectiveConfiguration
from config_core.errors import CascadaError, Reason
from query.capacity import Capacity
from query.embedding_batches import EmbeddingBatches, limits_of
from query.embedding_client import Embedded
from query.errors import UnusableDocumentError
from query.indexing import (
    DocumentOutcome,
    DocumentResult,
    IndexOptions,
    IndexSummary,
    SourceDocument,
)
from query.name import SERVICE
from service_core.deadline import Deadline
from service_core.trace import Hop, HopReport

DOCUMENTS_IN_FLIGHT = 256
"""So many that small documents fill the calls to the embedding model."""
BYTES_IN_FLIGHT = 64 * 1024 * 1024
RESULTS_AHEAD = 16
"""How many results wait for their reader."""

_FATAL = frozenset(
    {
        Reason.INVALID_CONFIGURATION,
        Reason.POLICY_VIOLATION,
        Reason.PERMISSION_DENIED,
        Reason.UNAUTHENTICATED,
        Reason.CAPABILITY_UNSUPPORTED,
        Reason.CREDENTIAL_MISSING,
        Reason.CALLER_CREDENTIAL_REJECTED,
        Reason.UPSTREAM_CREDENTIAL_REJECTED,
        Reason.MODEL_NOT_FOUND,
        Reason.EMBEDDING_SPACE_MISMATCH,
    }
)
"""What would fail every other document as well, and so ends the stream."""


class IndexRun:
    """One stream of documents: several in flight, the same id never twice at once."""

    def __init__(
        self,
        put: "Callable[[IndexRun, SourceDocument], Awaitable[tuple[DocumentOutcome, int]]]",
        embed: "Callable[[IndexRun, Sequence[str]], Awaitable[Embedded]]",
        options: IndexOptions,
        effective: EffectiveConfiguration,
    ) -> None:
        """`put` stores a document; it gives the outcome and the number of chunks. `embed` calls."""
        self.options = options
        self.effective = effective
        self.batches = EmbeddingBatches(
            partial(embed, self), limits_of(effective.primary), options.collection
        )
        self.summary = IndexSummary()
        self.last_hops: tuple[Hop, ...] = ()
        # Bounded: a reader that does not take its results slows the documents down.
        self.results: asyncio.Queue[DocumentResult | BaseException | None] = asyncio.Queue(
            RESULTS_AHEAD
        )
        self._put = put
        self._began = asyncio.get_running_loop().time()
        self._callers_deadline = Deadline.of_caller(options.time_remaining)

    def report(self) -> HopReport:
        """The report of this hop."""
        return HopReport(
            SERVICE,
            self.effective,
            asyncio.get_running_loop().time() - self._began,
            collections=(self.options.collection,),
        )

    def deadline(self) -> Deadline:
        """The deadline of one call: its own limit, or the end of the whole stream before that."""
        return min(Deadline.after(self.effective.timeout_seconds), self._callers_deadline)

    async def feed(self, documents: AsyncIterator[SourceDocument]) -> None:
        """Start a task each document, as many at once as there is room for."""
        running: dict[str, asyncio.Task[None]] = {}
        room = Capacity(DOCUMENTS_IN_FLIGHT, BYTES_IN_FLIGHT)
        try:
            position = 0
            async for document in documents:
                await room.take(document.weight)
                earlier = running.get(document.document_id)
                if earlier is not None:
                    await asyncio.wait([earlier])  # the later version has to win
                task = asyncio.create_task(self._one(position, document, room))
                running[document.document_id] = task
                task.add_done_callback(partial(_forget, running, document.document_id))
                position += 1
            if running:
                await asyncio.wait(list(running.values()))
            await self.results.put(None)
        except Exception as error:  # noqa: BLE001 # the reader of the results has to raise it
            await self.results.put(error)
        finally:
            left = list(running.values())
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)  # whoever waits for the feeding waits for them as well
            await self.batches.aclose()

    async def _one(self, position: int, document: SourceDocument, room: Capacity) -> None:
        try:
            await self.results.put(await self._result(position, document))
        except Exception as error:  # noqa: BLE001 # a fatal one: it ends the stream
            await self.results.put(error)
        finally:
            room.give(document.weight)

    async def _result(self, position: int, document: SourceDocument) -> DocumentResult:
        try:
            if document.problem:
                raise UnusableDocumentError(document.problem)
            outcome, count = await self._put(self, document)
        except CascadaError as error:
            if error.code_reason in _FATAL:
                raise
            return DocumentResult(
                document.document_id,
                position,
                DocumentOutcome.FAILED,
                reason=error.code_reason,
                detail=error.message,
            )
        return DocumentResult(document.document_id, position, outcome, count)


def _forget(
    running: dict[str, asyncio.Task[None]], document_id: str, done: asyncio.Task[None]
) -> None:
    if running.get(document_id) is done:
        del running[document_id]
