"""Indexes documents: chunk, embed and store, each document all or nothing."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

from config_core.errors import CascadaError, EmbeddingSpaceMismatchError, Reason
from config_core.forward import forward
from config_core.snapshot import Snapshots
from config_core.sources.collection import PinnedSpace
from query.chunking import TextChunk, chunk_text
from query.embedding_client import Embedded, EmbeddingPort
from query.errors import UnusableDocumentError, store_errors_for
from query.index_run import IndexRun
from query.indexing import (
    DocumentOutcome,
    DocumentResult,
    IndexOptions,
    IndexSummary,
    SourceDocument,
)
from query.name import SERVICE
from query.store import Chunk, Document, Store
from query.tokens import estimate_tokens
from service_core.trace import required

TEXTS_PER_CALL = 256
"""How many passages are embedded at once: far below what the embedding service takes, so that each
call ends within its time, however long the document is."""
_SMALLEST_CHUNK_TOKENS = 16


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
        run = IndexRun(self._put, options, effective)
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

    async def _put(self, run: IndexRun, document: SourceDocument) -> tuple[DocumentOutcome, int]:
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
            raise UnusableDocumentError("the text has nothing but blanks and headings")
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
        self, run: IndexRun, document: SourceDocument
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

    async def _embed_all(self, run: IndexRun, texts: Sequence[str]) -> Embedded:
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
