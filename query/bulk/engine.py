"""The engine: hands documents to workers, and those of a dead worker to another one.

A document that was stored before its worker died is found unchanged when its turn comes again, so
that each is stored exactly once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Generic

import grpc
from cascada.common.v1 import error_reason_pb2
from cascada.query.v1 import document_pb2, query_service_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status

from config_core.errors import CascadaError
from query.bulk.job import BulkError, Cluster, Report, SourceT, Worker, WorkerDiedError
from query.name import SERVICE
from service_core.concurrency import gather_or_cancel
from service_core.status import from_status

LARGEST_BATCH = 16
_BATCHES_PER_WORKER = 4
"""At least so many, that none has nothing to do for long at the end."""
MAX_DEATHS = 5
"""How many workers may die over one document before it is given up."""
MAX_STARTS = 3
"""How many workers in a row may die before they have begun, for each that can run at a time.

In a bad minute more than one dies so; it is only hopeless where none gets on in between.
"""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document that could not be read, and why."""

    document_id: str
    detail: str


Event = query_service_pb2.IndexDocumentsResponse | Unreadable


@dataclass(frozen=True, slots=True)
class _Batch(Generic[SourceT]):
    sources: Sequence[SourceT]
    deaths: int = 0


class BulkEngine(Generic[SourceT]):
    """One bulk indexing."""

    def __init__(self, cluster: Cluster[SourceT], sources: Sequence[SourceT]) -> None:
        self._cluster = cluster
        size = min(LARGEST_BATCH, ceil(len(sources) / (cluster.size * _BATCHES_PER_WORKER)) or 1)
        self._batches = deque(
            _Batch(sources[start : start + size]) for start in range(0, len(sources), size)
        )
        self._positions = {source.document_id: place for place, source in enumerate(sources)}
        self._summary = document_pb2.IndexSummary()
        self._began = asyncio.get_running_loop().time()
        self._count = min(cluster.size, len(self._batches))
        self._failed_starts = 0
        """In a row, of all workers."""
        # Bounded: a reader that does not take its results slows the workers down.
        self._reports: asyncio.Queue[Report | Exception | None] = asyncio.Queue(cluster.size)

    async def run(self) -> AsyncGenerator[Event, None]:
        """Give what IndexDocuments answers: a result each document, and last the summary.

        Raises the CascadaError that ends a stream, and BulkError.
        """
        working = asyncio.create_task(self._work_all())
        try:
            while (report := await self._reports.get()) is not None:
                if isinstance(report, Exception):
                    raise report
                for event in self._events(report):
                    yield event
                if report.error:
                    raise _error_of(report.error)
        finally:
            working.cancel()
            await asyncio.wait([working])
        for hop in self._summary.configuration_trace.hops[:1]:
            elapsed = asyncio.get_running_loop().time() - self._began
            hop.duration.FromNanoseconds(round(elapsed * 1e9))
        yield query_service_pb2.IndexDocumentsResponse(summary=self._summary)

    def _events(self, report: Report) -> list[Event]:
        events: list[Event] = [Unreadable(*each) for each in report.unreadable]
        for each in report.results:
            response = query_service_pb2.IndexDocumentsResponse.FromString(each)
            response.result.position = self._positions[response.result.document_id]
            events.append(response)
        self._add(document_pb2.IndexSummary.FromString(report.summary))
        return events

    def _add(self, part: document_pb2.IndexSummary) -> None:
        whole = self._summary
        whole.indexed += part.indexed
        whole.unchanged += part.unchanged
        whole.failed += part.failed
        whole.chunks += part.chunks
        whole.usage.input_tokens += part.usage.input_tokens
        whole.usage.output_tokens += part.usage.output_tokens
        # One for all: they resolve alike. A batch that embedded nothing knows one hop only.
        if len(part.configuration_trace.hops) > len(whole.configuration_trace.hops):
            whole.configuration_trace.CopyFrom(part.configuration_trace)

    async def _work_all(self) -> None:
        try:
            await gather_or_cancel(self._work() for _ in range(self._count))
            await self._reports.put(None)
        except Exception as error:  # noqa: BLE001 # the reader of the reports has to raise it
            await self._reports.put(error)

    async def _work(self) -> None:
        """Work off batches with one worker after another, as long as there are any."""
        worker: Worker[SourceT] | None = None
        try:
            while self._batches:
                worker = worker or await self._started()
                if worker is None:
                    continue
                if not self._batches:
                    break
                batch = self._batches.popleft()
                try:
                    report = await worker.index(batch.sources)
                except WorkerDiedError:
                    worker.kill()
                    worker = None
                    await self._try_again(batch)
                else:
                    self._failed_starts = 0
                    await self._reports.put(report)
            if worker is not None:
                with suppress(WorkerDiedError):  # it has nothing left to do
                    await worker.close()
        finally:
            if worker is not None:
                worker.kill()

    async def _started(self) -> Worker[SourceT] | None:
        """A worker that has begun; None where it has died."""
        worker = self._cluster.start_worker()
        try:
            problem = await worker.open()
        except WorkerDiedError:
            worker.kill()
            self._failed_starts += 1
            if self._failed_starts < MAX_STARTS * self._count:
                return None
            raise BulkError(
                "The workers can't start: see that the cluster's machines have this version of "
                "Cascada installed, and memory left."
            ) from None
        except BaseException:
            worker.kill()
            raise
        if problem:
            worker.kill()
            raise BulkError(f"The workers can't index: {problem}.")
        self._failed_starts = 0
        return worker

    async def _try_again(self, batch: _Batch[SourceT]) -> None:
        """One by one, so that a document that kills its worker takes no other along.

        After all others: what killed this worker may go on for a while.
        """
        deaths = batch.deaths + 1
        if deaths == MAX_DEATHS:  # it is one document by now
            await self._reports.put(_given_up(batch.sources[0].document_id))
            return
        self._batches.extend(_Batch([source], deaths) for source in batch.sources)


def _error_of(message: bytes) -> CascadaError:
    status = rpc_status.to_status(status_pb2.Status.FromString(message))
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    return from_status(grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata), SERVICE)


def _given_up(document_id: str) -> Report:
    result = document_pb2.DocumentResult(
        document_id=document_id,
        outcome=document_pb2.DOCUMENT_OUTCOME_FAILED,
        reason=error_reason_pb2.ERROR_REASON_INTERNAL,
        detail=f"{MAX_DEATHS} workers died over this document, which may be too large for their "
        "memory: index it alone, without --engine ray.",
    )
    response = query_service_pb2.IndexDocumentsResponse(result=result)
    summary = document_pb2.IndexSummary(failed=1)
    return Report((response.SerializeToString(),), summary.SerializeToString())
