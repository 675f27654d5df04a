"""Indexes documents: read, chunk, embed and store, each document all or nothing."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ParamSpec, TypeVar

from config_core.errors import CascadaError, Reason
from config_core.forward import Forwarded, forward
from config_core.snapshot import Snapshots
from config_core.sources.collection import PinnedSpace
from query.chunk_size import MIN_TOKENS, chunk_tokens_of
from query.chunking import TextChunk, chunk_text
from query.embedding_batches import Vectors
from query.embedding_client import Embedded, EmbeddingPort
from query.errors import UnusableDocumentError, store_errors_for
from query.extraction.extractor import Extractor
from query.extraction.model import Extracted, MediaType
from query.extraction.text import markdown
from query.index_run import IndexRun
from query.indexing import (
    DocumentOutcome,
    DocumentResult,
    IndexOptions,
    IndexSummary,
    SourceDocument,
)
from query.name import SERVICE
from query.passages import embedded_text
from query.sections import SECTION_SEPARATOR
from query.store import Chunk, Document, Store
from query.tokens import TokenRuler
from service_core.trace import required

VERSION = 1
"""Of everything between a document and its vectors: another one has documents indexed anew."""

# Characters, or bytes, that take no more than a millisecond or two.
_CUT_AT_ONCE = 4096
_HASHED_AT_ONCE = 500_000

P = ParamSpec("P")
T = TypeVar("T")


class Indexer:
    """Writes documents into collections."""

    def __init__(
        self,
        snapshots: Snapshots,
        store: Store,
        embeddings: EmbeddingPort,
        extractor: Extractor,
        *,
        attach_credentials: bool = False,
    ) -> None:
        self._snapshots = snapshots
        self._store = store
        self._embeddings = embeddings
        self._extractor = extractor
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
        tokens = chunk_tokens_of(options.chunk_tokens, effective.primary)
        forwarded = forward([effective], attach_credentials=self._attach_credentials)
        call = partial(self._call, forwarded)
        run = IndexRun(self._put, call, replace(options, chunk_tokens=tokens), effective)
        feeding = asyncio.create_task(run.feed(documents))
        try:
            while (result := await run.results.get()) is not None:
                if isinstance(result, CascadaError):
                    result.hops = (run.report(), *result.hops)
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
        """Read, chunk, embed and store; what the document has now, and how many chunks that is."""
        options = run.options
        tenant, collection = options.context.tenant_id, options.collection
        size = len(document.content or document.text)
        content_hash = await _run(size, _HASHED_AT_ONCE, _content_hash, document, options)
        async with store_errors_for(collection):
            stored = await self._store.get_document(tenant, collection, document.document_id)
        if stored is not None and stored.content_hash == content_hash:
            return DocumentOutcome.UNCHANGED, stored.chunk_count
        extracted = await self._read(document)
        title, chunks, vectors = await self._embed(run, document.title, extracted)
        entry = Document(
            document_id=document.document_id,
            title=title,
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
                for chunk, vector in zip(chunks, vectors.vectors, strict=True)
            ],
        )
        endpoint = run.effective.primary.connection.endpoint
        async with store_errors_for(collection):
            await self._store.put_document(tenant, collection, vectors.space, endpoint, entry)
        return DocumentOutcome.INDEXED, len(chunks)

    async def _read(self, document: SourceDocument) -> Extracted:
        if document.content:
            return await self._extractor.extract(document.media_type, document.content)
        if document.media_type is MediaType.MARKDOWN:
            return markdown(document.text)
        return Extracted(document.text)

    async def _embed(
        self, run: IndexRun, title: str, extracted: Extracted
    ) -> tuple[str, Sequence[TextChunk], Vectors]:
        """The title, the chunks and their vectors.

        Tokens are estimated: where one text is too long for the model, all chunks get smaller.
        """
        tokens = run.options.chunk_tokens or MIN_TOKENS
        while True:
            size = len(extracted.text)
            chunks = await _run(size, _CUT_AT_ONCE, _chunks, extracted, tokens, run.options)
            if not chunks:
                raise UnusableDocumentError("the text has nothing but blanks")
            named = title or extracted.title or _first_heading(extracted, chunks)
            texts = [embedded_text(named, chunk.section, chunk.text) for chunk in chunks]
            try:
                return named, chunks, await run.batches.embed(texts)
            except CascadaError as error:
                too_long = error.code_reason is Reason.CONTEXT_TOO_LONG
                if not too_long or tokens <= MIN_TOKENS:
                    raise
                tokens = max(MIN_TOKENS, tokens // 2)

    async def _call(self, forwarded: Forwarded, run: IndexRun, texts: Sequence[str]) -> Embedded:
        embedded = await self._embeddings.embed(
            texts,
            query=False,
            forwarded=forwarded,
            context=run.options.context,
            deadline=run.deadline(),
        )
        run.summary.usage += embedded.usage
        run.last_hops = embedded.hops
        return embedded


async def _run(
    size: int, at_once: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call a function, in a thread unless it has too little to do for one."""
    if size <= at_once:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)


def _content_hash(document: SourceDocument, options: IndexOptions) -> str:
    """What tells one version of a document from another, the way it is read and cut included."""
    parts = json.dumps(
        [
            VERSION,
            document.media_type,
            hashlib.sha256(document.content or document.text.encode()).hexdigest(),
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


def _chunks(extracted: Extracted, tokens: int, options: IndexOptions) -> tuple[TextChunk, ...]:
    return chunk_text(
        extracted.text,
        TokenRuler(extracted.text),
        target_tokens=tokens,
        overlap_sentences=options.overlap_sentences,
        markdown=extracted.markdown,
        pages=extracted.pages,
    )


def _first_heading(extracted: Extracted, chunks: Sequence[TextChunk]) -> str:
    if not extracted.markdown:
        return ""
    sections = (chunk.section.split(SECTION_SEPARATOR)[0] for chunk in chunks)
    return next(filter(None, sections), "")
