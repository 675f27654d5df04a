"""Passages as rows: what of a document goes into the table of passages, and how it comes back.

A passage is one row, or more where its text or its words do not fit into one: then each row but the
first carries the next piece. What does not fit into a document's own row stands here as well, in
the place of a passage that no search reaches. Only first rows are compared by their vectors.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from query.store.analysis import terms
from query.store.milvus.connection import Connection, Row
from query.store.milvus.filters import attributes
from query.store.milvus.keys import any_of, ordered_key, short_key
from query.store.milvus.pieces import FIELD_BYTES, lines, split
from query.store.milvus.tables import ChunkTable
from query.store.milvus.words import WORDLESS, encoded
from query.store.model import Chunk, Document, StoredChunk
from query.store.vector import normalised

_REST = 0xFFFFFFFF
"""The place of what does not fit into a document's own row."""

_BATCH_BYTES = 4 * 1024 * 1024
_ROW_BYTES = 512


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be written into any generation with vectors of these dimensions."""

    key: str
    pieces: list[str]
    """The document without its passages; the first piece is for its own row."""
    chunk_keys: list[str]
    rows: list[dict[str, Any]]
    """Without what depends on the generation; an id still lacks the version in front."""


def prepare(document: Document, dimensions: int, *, full_text: bool) -> Prepared:
    """Turn a document into rows; a ValueError for a vector, or an id, that no table can hold."""
    key = ordered_key(document.document_id)
    content = {
        "document_id": document.document_id,
        "title": document.title,
        "source": document.source,
        "metadata": dict(document.metadata),
        "content_hash": document.content_hash,
        "chunk_count": len(document.chunks),
    }
    pieces = split(json.dumps(content, ensure_ascii=False))
    rows = [
        row
        for place, chunk in enumerate(document.chunks)
        for row in _rows_of(place, chunk, dimensions)
    ]
    anywhere = np.eye(1, dimensions, dtype=np.float32)[0]
    rows += [
        _row(_REST, part, len(pieces), payload=piece, vector=anywhere)
        for part, piece in enumerate(pieces)
        if part
    ]
    shared = {"document": key, "attributes": attributes(document.metadata)}
    for row in rows:
        row.update(shared)
        if not full_text:
            del row["words"]
    return Prepared(key, pieces, [short_key(chunk.chunk_id) for chunk in document.chunks], rows)


def row_id(version: str, place: int, part: int) -> str:
    """The key of a row: `place` is the passage's among those of its document."""
    return version + _row_suffix(place, part)


def rest_ids(version: str, parts: int) -> list[str]:
    """The keys of the rows with what did not fit into the document's own."""
    return [row_id(version, _REST, part) for part in range(1, parts)]


def first_row_of(row: str) -> str:
    """The key of the first row of the passage that a row belongs to."""
    return _part_of(row, 0)


def batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in groups that fit into a message."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        texts = (row["payload"], row.get("words", ""), row["document"], row["chunk_id"])
        length = _ROW_BYTES + row["vector"].nbytes + 4 * sum(map(len, texts))
        if batch and size + length > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


async def contents(
    connection: Connection, table: ChunkTable, expression: str, *fields: str
) -> dict[str, tuple[StoredChunk, Row]]:
    """The passages whose first rows the expression holds for, by the row's key, with the row.

    What is taken away meanwhile is left out.
    """
    read = ("chunk_id", "position", "payload", "parts", *fields)
    rows = await connection.query(table.name, expression, read)
    further = [_part_of(row["id"], part) for row in rows for part in range(1, row["parts"])]
    pieces: dict[str, str] = {}
    if further:
        for row in await connection.query(table.name, any_of("id", further), ("payload",)):
            pieces[row["id"]] = row["payload"]
    found = {}
    for row in rows:
        keys = [_part_of(row["id"], part) for part in range(1, row["parts"])]
        if all(key in pieces for key in keys):
            text = row["payload"] + "".join(pieces[key] for key in keys)
            found[row["id"]] = (_stored(row, json.loads(text)), row)
    return found


def _stored(row: Row, content: dict[str, Any]) -> StoredChunk:
    return StoredChunk(chunk_id=row["chunk_id"], position=row["position"], **content)


def _rows_of(place: int, chunk: Chunk, dimensions: int) -> Iterator[dict[str, Any]]:
    if len(chunk.chunk_id.encode()) > FIELD_BYTES:
        raise ValueError(f"a chunk's id must have at most {FIELD_BYTES} bytes")
    vector = np.frombuffer(normalised(chunk.vector, dimensions), dtype="<f4")
    content = {
        "text": chunk.text, "start": chunk.start, "end": chunk.end, "section": chunk.section
    }  # fmt: skip
    pieces = split(json.dumps(content, ensure_ascii=False))
    words = lines(encoded(terms(chunk.text)))
    parts = max(len(pieces), len(words))
    for part, (piece, line) in enumerate(zip_longest(pieces, words, fillvalue="")):
        row = _row(place, part, parts, payload=piece, vector=vector)
        row |= {
            "chunk_id": chunk.chunk_id,
            "chunk_key": short_key(chunk.chunk_id),
            "position": chunk.position,
            "words": line or WORDLESS,
        }
        yield row


def _row(
    place: int, part: int, parts: int, *, payload: str, vector: NDArray[np.float32]
) -> dict[str, Any]:
    return {
        "id": _row_suffix(place, part),
        "part": part,
        "parts": parts,
        "payload": payload,
        "vector": vector,
        "chunk_id": "",
        "chunk_key": "",
        "position": -1,
        "words": WORDLESS,
    }


def _row_suffix(place: int, part: int) -> str:
    return f"{place:08x}{part:04x}"


def _part_of(row: str, part: int) -> str:
    return f"{row[:-4]}{part:04x}"
