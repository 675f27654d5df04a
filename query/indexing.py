"""Indexing: chunk, embed and store documents, several at once, each of them all or nothing."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

from config_core.effective import EffectiveConfiguration
from config_core.errors import CascadaError, EmbeddingSpaceMismatchError, Reason
from config_core.forward import forward
from config_core.snapshot import Snapshots
from config_core.sources.collection import PinnedSpace
from config_core.sources.request import Incoming
from query.chunking import TextChunk, chunk_text
from query.embedding_client import Embedded, EmbeddingPort
from query.errors import store_errors_for
from query.retrieval import SERVICE
from query.store import Chunk, Document, MetadataValue, Store
from query.tokens import estimate_tokens
from service_core.deadline import Deadline
from service_core.request_context import RequestContext
from service_core.trace import Hop, HopReport, required
from service_core.usage import Usage

DEFAULT_CHUNK_TOKENS = 200
DEFAULT_OVERLAP_SENTENCES = 1
DOCUMENTS_IN_FLIGHT = 4
TEXTS_PER_CALL = 256
"""How many passages are embedded at once: far below what the embedding service takes, so that each
call ends within its time, however long the document is."""
_SMALLEST_CHUNK_TOKENS = 16

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


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What holds for a whole stream, already checked."""

    context: RequestContext
    collection: str
    incoming: Incoming
    time_remaining: float | None
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS
    overlap_sentences: int = DEFAULT_OVERLAP_SENTENCES


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document as it came; `problem` says why it can't be indexed, "" where it can."""

    document_id: str
    text: str
    title: str = ""
    source: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    problem: str = ""


class DocumentOutcome(StrEnum):
    """What happened to a document."""

    INDEXED = "indexed"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DocumentResult:
    """The outcome of the document at `position` in the stream, from 0."""

    document_id: str
    position: int
    outcome: DocumentOutcome
    chunk_count: int = 0
    reason: Reason | None = None
    detail: str = ""


@dataclass(slots=True)
class IndexSummary:
    """What a stream has come to."""

    indexed: int = 0
    unchanged: int = 0
    failed: int = 0
    chunks: int = 0
    usage: Usage = field(default_factory=Usage)
    hops: tuple[Hop, ...] = ()

    def count(self, result: DocumentResult) -> None:
        """Add one document's outcome."""
        if result.outcome is DocumentOutcome.INDEXED:
            self.indexed += 1
            self.chunks += result.chunk_count
        elif result.outcome is DocumentOutcome.UNCHANGED:
            self.unchanged += 1
        else:
            self.failed += 1


class Indexer:
    """Writes documents into collections."""

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

    async def index(
        self, options: IndexOptions, documents: AsyncIterator[SourceDocument]
    ) -> AsyncGenerator[DocumentResult | IndexSummary, None]:
        """Give a result each document, once it is stored durably, and last the summary."""
        async with store_errors_for(options.collection):
            known = await self._store.get_collection(options.context.tenant_id, options.collection)
        pinned = PinnedSpace(known.space, known.endpoint) if known else None
        effective = required(
            SERVICE,
            self._snapshots.current.resolve(
                "embedding", options.context.tenant_id, options.incoming, pinned
            ),
        )
        if pinned is not None:
            effective.check_space(pinned.space, options.collection)
        run = _Run(self, options, effective)
        feeding = asyncio.create_task(run.feed(documents))
        try:
            while (result := await run.results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                run.summary.count(result)
                yield result
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])
        run.summary.hops = (run.report(), *run.last_hops)
        yield run.summary

    async def put(self, run: "_Run", document: SourceDocument) -> tuple[DocumentOutcome, int]:
        """Chunk, embed and store one document; what it has now, and how many chunks that is."""
        options = run.options
        tenant, collection = options.context.tenant_id, options.collection
        content_hash = _content_hash(document, options)
        async with store_errors_for(collection):
            stored = await self._store.get_document(tenant, collection, document.document_id)
        if stored is not None and stored.content_hash == content_hash:
            return DocumentOutcome.UNCHANGED, stored.chunk_count
        chunks, embedded = await self._embed(run, document)
        if embedded is None:
            raise _unusable("the text has nothing but blanks and headings")
        entry = Document(
            document_id=document.document_id,
            title=document.title or _first_heading(chunks),
            source=document.source,
            metadata=document.metadata,
            content_hash=content_hash,
            chunks=[
                Chunk(
                    chunk_id=f"{document.document_id}#{chunk.position}",
                    position=chunk.position,
                    text=chunk.text,
                    start=chunk.start,
                    end=chunk.end,
                    section=chunk.section,
                    vector=vector,
                )
                for chunk, vector in zip(chunks, embedded.vectors, strict=True)
            ],
        )
        endpoint = run.effective.primary.connection.endpoint
        async with store_errors_for(collection):
            await self._store.put_document(tenant, collection, embedded.space, endpoint, entry)
        return DocumentOutcome.INDEXED, len(chunks)

    async def _embed(
        self, run: "_Run", document: SourceDocument
    ) -> tuple[tuple[TextChunk, ...], Embedded | None]:
        """Chunk and embed. Tokens are estimated: where one is too long, all chunks get smaller."""
        options = run.options
        tokens = options.chunk_tokens
        while True:
            chunks = await asyncio.to_thread(
                chunk_text,
                document.text,
                estimate_tokens,
                target_tokens=tokens,
                overlap_sentences=options.overlap_sentences,
            )
            if not chunks:
                return chunks, None
            try:
                return chunks, await self._embed_all(run, [chunk.text for chunk in chunks])
            except CascadaError as error:
                too_long = error.code_reason is Reason.CONTEXT_TOO_LONG
                if not too_long or tokens <= _SMALLEST_CHUNK_TOKENS:
                    raise
                tokens = max(_SMALLEST_CHUNK_TOKENS, tokens // 2)

    async def _embed_all(self, run: "_Run", texts: Sequence[str]) -> Embedded:
        """Embed one document's passages, in as many calls as it takes, all into one space."""
        vectors: list[bytes] = []
        first: Embedded | None = None
        for start in range(0, len(texts), TEXTS_PER_CALL):
            embedded = await self._embeddings.embed(
                texts[start : start + TEXTS_PER_CALL],
                query=False,
                forwarded=forward([run.effective], attach_credentials=self._attach_credentials),
                context=run.options.context,
                deadline=run.deadline(),
            )
            run.summary.usage += embedded.usage
            run.last_hops = embedded.hops
            vectors += embedded.vectors
            first = first or embedded
            if embedded.space != first.space:
                raise EmbeddingSpaceMismatchError(
                    run.options.collection, first.space, embedded.space
                )
        assert first is not None
        return replace(first, vectors=vectors)


class _Run:
    """One stream of documents: several in flight, the same id never twice at once."""

    def __init__(
        self, indexer: Indexer, options: IndexOptions, effective: EffectiveConfiguration
    ) -> None:
        self.options = options
        self.effective = effective
        self.summary = IndexSummary()
        self.last_hops: tuple[Hop, ...] = ()
        # Bounded: a reader that does not take its results slows the documents down.
        self.results: asyncio.Queue[DocumentResult | BaseException | None] = asyncio.Queue(
            DOCUMENTS_IN_FLIGHT
        )
        self._indexer = indexer
        self._began = asyncio.get_running_loop().time()
        remaining = options.time_remaining
        self._callers_deadline = None if remaining is None else Deadline.after(remaining)

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
        own = Deadline.after(self.effective.timeout_seconds)
        return own if self._callers_deadline is None else min(own, self._callers_deadline)

    async def feed(self, documents: AsyncIterator[SourceDocument]) -> None:
        """Start a task each document, as many at once as there are places."""
        running: dict[str, asyncio.Task[None]] = {}
        places = asyncio.Semaphore(DOCUMENTS_IN_FLIGHT)
        try:
            position = 0
            async for document in documents:
                await places.acquire()
                earlier = running.get(document.document_id)
                if earlier is not None:
                    await asyncio.wait([earlier])  # the later version has to win
                task = asyncio.create_task(self._one(position, document, places))
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

    async def _one(
        self, position: int, document: SourceDocument, places: asyncio.Semaphore
    ) -> None:
        try:
            await self.results.put(await self._result(position, document))
        except Exception as error:  # noqa: BLE001 # a fatal one: it ends the stream
            await self.results.put(error)
        finally:
            places.release()

    async def _result(self, position: int, document: SourceDocument) -> DocumentResult:
        try:
            if document.problem:
                raise _unusable(document.problem)
            outcome, count = await self._indexer.put(self, document)
        except CascadaError as error:
            if error.code_reason in _FATAL:
                error.hops = (self.report(), *error.hops)
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


class _UnusableDocumentError(CascadaError):
    reason = Reason.INVALID_ARGUMENT


def _unusable(why: str) -> CascadaError:
    return _UnusableDocumentError(f"The document can't be indexed: {why}.")


def _content_hash(document: SourceDocument, options: IndexOptions) -> str:
    """What tells one version of a document from another, the way it is cut included."""
    parts = json.dumps(
        [
            document.text,
            document.title,
            document.source,
            dict(document.metadata),
            options.chunk_tokens,
            options.overlap_sentences,
        ],
        sort_keys=True,
        ensure_ascii=True,
    )
    return hashlib.sha256(parts.encode()).hexdigest()


def _first_heading(chunks: tuple[TextChunk, ...]) -> str:
    return next((chunk.section.split(" > ")[0] for chunk in chunks if chunk.section), "")
