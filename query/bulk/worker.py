"""A worker: reads, chunks, embeds and stores documents as the query service does, without a port.

It has the environment of the machine that it runs on, and reads keys, certificates and the
configuration file there by itself.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Generic

from config_core.errors import CascadaError, ConfigurationFileError
from config_core.known_secrets import KnownSecrets
from query.bulk.job import Job, Report, SourceT, UnreadableError, place_of
from query.embedding_client import EmbeddingClient
from query.extraction.extractor import Extractor
from query.indexer import Indexer
from query.indexing import IndexSummary, SourceDocument
from query.store import StoreError, open_store
from query.wire_documents import document_from, in_options
from query.wire_response import result_to_wire, summary_to_wire
from service_core.logs import configure_logs
from service_core.process import DROPPED_VARIABLES, Process, configure
from service_core.status import to_status


class BulkWorker(Generic[SourceT]):
    """One worker, in a process of its own."""

    def __init__(self, job: Job[SourceT]) -> None:
        self._job = job
        self._stack = AsyncExitStack()
        self._process: Process
        self._indexer: Indexer

    async def open(self) -> str:
        """Open store and channel; what stands in the way, "" for nothing."""
        try:
            os.chdir(self._job.folder)
            await self._open()
        except OSError:
            return f"there is no folder {self._job.folder} on a machine of the cluster"
        except (ConfigurationFileError, StoreError, ValueError) as error:
            return str(error)
        return ""

    async def index(self, sources: Sequence[SourceT]) -> Report:
        """Read, chunk, embed and store documents, each all or nothing."""
        unreadable: list[tuple[str, str]] = []
        results: list[bytes] = []
        summary = error = b""
        tracer = self._process.tracer
        try:
            with in_options():
                options = self._job.checked_options()
                documents = self._documents(sources, unreadable)
                async with aclosing(self._indexer.index(options, documents)) as events:
                    async for event in events:
                        if isinstance(event, IndexSummary):
                            summary = summary_to_wire(event, tracer).summary.SerializeToString()
                        else:
                            results.append(result_to_wire(event).SerializeToString())
        except CascadaError as failure:
            # As a status: its hops hold the connection with its key, which must not travel.
            error = to_status(failure, tracer.of_error(failure)).SerializeToString()
        return Report(tuple(results), summary, tuple(unreadable), error)

    async def close(self) -> None:
        """Close store and channel."""
        await self._stack.aclose()

    async def _open(self) -> None:
        for name in DROPPED_VARIABLES:
            os.environ.pop(name, None)
        settings, snapshots = configure(os.environ)
        if place_of(settings.store_url) != self._job.store:
            raise ValueError(
                "the cluster's workers have another CASCADA_STORE than this command: give both the "
                "same"
            )
        known = KnownSecrets(settings.fingerprint_key)
        configure_logs(settings.log_level, secrets=lambda: known.of(snapshots.current))
        self._process = process = Process.of(settings, snapshots)
        enter = self._stack.enter_async_context
        store = await enter(open_store(settings.store_url))
        channel = await enter(process.channel(self._job.target))
        extractor = Extractor()
        self._stack.push_async_callback(extractor.aclose)
        self._indexer = Indexer(
            snapshots,
            store,
            EmbeddingClient(channel, process.next_service("embedding", self._job.target)),
            extractor,
            attach_credentials=settings.forward_credentials,
        )

    async def _documents(
        self, sources: Sequence[SourceT], unreadable: list[tuple[str, str]]
    ) -> AsyncIterator[SourceDocument]:
        for source in sources:
            try:
                document = await asyncio.to_thread(self._job.read, source)
            except UnreadableError as error:
                unreadable.append((source.document_id, str(error)))
                continue
            yield document_from(document)
