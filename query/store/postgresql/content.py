"""A document made ready to be written: what takes time is done before the transaction begins."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from query.store.model import Chunk, Document
from query.store.postgresql.comparison import compared, digest
from query.store.postgresql.places import MAX_CHUNKS
from query.store.postgresql.postings import Postings, postings_of
from query.store.postgresql.texts import stored
from query.store.vector import normalised


@dataclass(frozen=True, slots=True)
class Content:
    """A document in the form of its rows."""

    document_id: str
    fields: tuple[str, ...]
    """Title, source, metadata and content hash."""
    chunks: tuple[Sequence[str | int | bytes], ...]
    """The columns of its chunks."""
    vectors: list[bytes]
    postings: Postings
    attributes: tuple[Sequence[bytes | Decimal | None], ...]
    """The columns key, value and number of its metadata."""


def prepare(document: Document, dimensions: int) -> Content:
    """Turn the document into rows; a ValueError for what cannot be kept."""
    if len(document.chunks) > MAX_CHUNKS:
        raise ValueError(f"a document has at most {MAX_CHUNKS} chunks")
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
    fields = (document.title, document.source, metadata, document.content_hash)
    values = {digest(key): compared(value) for key, value in document.metadata.items()}
    return Content(
        document_id=stored(document.document_id),
        fields=tuple(stored(field) for field in fields),
        chunks=_columns(document.chunks),
        vectors=[normalised(chunk.vector, dimensions) for chunk in document.chunks],
        postings=postings_of([chunk.text for chunk in document.chunks]),
        attributes=(
            [*values],
            [value if isinstance(value, bytes) else None for value in values.values()],
            [value if isinstance(value, Decimal) else None for value in values.values()],
        ),
    )


def _columns(chunks: Sequence[Chunk]) -> tuple[Sequence[str | int | bytes], ...]:
    return (
        [*range(len(chunks))],
        [chunk.position for chunk in chunks],
        [chunk.start for chunk in chunks],
        [chunk.end for chunk in chunks],
        [digest(chunk.chunk_id) for chunk in chunks],
        [stored(chunk.chunk_id) for chunk in chunks],
        [stored(chunk.section) for chunk in chunks],
        [stored(chunk.text) for chunk in chunks],
    )
