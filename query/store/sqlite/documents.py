"""Documents as rows: written, replaced, listed and deleted as one unit with all their chunks."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import numpy as np

from query.store.model import Document, StoredDocument
from query.store.sqlite import catalog, passages
from query.store.sqlite.blocks import Slots
from query.store.sqlite.catalog import Scope, Totals
from query.store.sqlite.filters import kind_of
from query.store.sqlite.slots import place
from query.store.vector import normalised

_COLUMNS = "document_id, title, source, metadata, content_hash, chunk_count"


@dataclass(frozen=True, slots=True)
class _Removed:
    """What was taken out: the documents that there were, their slots and their terms."""

    document_ids: list[str]
    slots: Slots
    tokens: int


def put(
    connection: apsw.Connection, scope: Scope, document: Document, approximate_from: int
) -> bool:
    """Write the document in place of the one of the same id; True where there was one."""
    removed = _take_out(connection, scope, [document.document_id])
    packed = b"".join(normalised(chunk.vector, scope.dimensions) for chunk in document.chunks)
    vectors = np.frombuffer(packed, "<f4").reshape(-1, scope.dimensions)
    slots = place(connection, scope, removed.slots, vectors, approximate_from)
    connection.execute(
        f"INSERT INTO documents (collection, {_COLUMNS}) VALUES (?,?,?,?,?,?,?)",
        (scope.id, document.document_id, document.title, document.source,
         json.dumps(dict(document.metadata), ensure_ascii=False), document.content_hash,
         len(document.chunks)),
    )  # fmt: skip
    key = connection.last_insert_rowid()
    connection.executemany(
        "INSERT INTO attributes (collection, key, kind, value, document) VALUES (?,?,?,?,?)",
        [(scope.id, name, kind_of(v), v, key) for name, v in document.metadata.items()],
    )
    tokens = passages.put(connection, scope, key, document.chunks, slots)
    change = Totals(
        documents=1 - len(removed.document_ids),
        chunks=len(slots) - len(removed.slots),
        tokens=tokens - removed.tokens,
    )
    catalog.count(connection, scope, change)
    return bool(removed.document_ids)


def delete(
    connection: apsw.Connection, scope: Scope, document_ids: Sequence[str], approximate_from: int
) -> list[str]:
    """Delete the documents with all that belongs to them; the ids of those that there were."""
    removed = _take_out(connection, scope, document_ids)
    nothing = np.empty((0, scope.dimensions), np.float32)
    place(connection, scope, removed.slots, nothing, approximate_from)
    change = Totals(-len(removed.document_ids), -len(removed.slots), -removed.tokens)
    catalog.count(connection, scope, change)
    return removed.document_ids


def _take_out(connection: apsw.Connection, scope: Scope, document_ids: Sequence[str]) -> _Removed:
    """Delete the documents with all but their vectors, whose slots are then to be taken."""
    found: dict[str, int] = {}
    for document_id in document_ids:
        for (key,) in connection.execute(
            "SELECT id FROM documents WHERE collection = ? AND document_id = ?",
            (scope.id, document_id),
        ):
            found[document_id] = key
    keys = [*found.values()]
    chunks = passages.remove(connection, keys)
    for table, column in (("attributes", "document"), ("documents", "id")):
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(key,) for key in keys])
    slots = np.array([slot for slot, _ in chunks], np.int64)
    return _Removed([*found], slots, sum(tokens for _, tokens in chunks))


def get(connection: apsw.Connection, scope: Scope, document_id: str) -> StoredDocument | None:
    """The document of that id, without its text."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM documents WHERE collection = ? AND document_id = ?",
        (scope.id, document_id),
    ).fetchone()
    return None if row is None else _stored(row)


def page(connection: apsw.Connection, scope: Scope, after: str, limit: int) -> list[StoredDocument]:
    """The documents by id, those behind `after`."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM documents WHERE collection = ? AND document_id > ?"
        " ORDER BY document_id LIMIT ?",
        (scope.id, after, limit),
    )
    return [_stored(row) for row in rows]


def _stored(row: tuple[Any, ...]) -> StoredDocument:
    document_id, title, source, metadata, content_hash, chunk_count = row
    return StoredDocument(
        document_id, title, source, json.loads(metadata), content_hash, chunk_count
    )
