"""Documents as rows: written, replaced, listed and deleted as one unit with all their chunks."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import json
from collections.abc import Iterable
from typing import Any

import apsw

from query.store.model import Chunk, Document, StoredDocument
from query.store.sqlite import catalog, full_text
from query.store.sqlite.catalog import Scope, Totals
from query.store.sqlite.filters import kind_of
from query.store.vector import normalised

_COLUMNS = "document_id, title, source, metadata, content_hash, chunk_count"


def put(connection: apsw.Connection, scope: Scope, document: Document) -> bool:
    """Write the document in place of the one of the same id; True where there was one."""
    removed = remove(connection, scope, document.document_id)
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
    tokens = _put_chunks(connection, scope, key, document.chunks)
    added = Totals(1, len(document.chunks), tokens)
    catalog.count(connection, scope, added)
    return removed


def _put_chunks(
    connection: apsw.Connection, scope: Scope, document: int, chunks: Iterable[Chunk]
) -> int:
    identifier = scope.first_chunk
    for (last,) in connection.execute(
        "SELECT max(id) FROM chunks WHERE id BETWEEN ? AND ?", (scope.first_chunk, scope.last_chunk)
    ):
        identifier = identifier if last is None else last
    total = 0
    for chunk in chunks:
        identifier += 1
        terms = full_text.terms(connection, scope, chunk.text)
        total += len(terms)
        try:
            connection.execute(
                "INSERT INTO chunks VALUES (?,?,?,?,?,?,?,?,?,?)",
                (identifier, scope.id, document, chunk.chunk_id, chunk.position, chunk.text,
                 chunk.start, chunk.end, chunk.section, len(terms)),
            )  # fmt: skip
        except apsw.ConstraintError:
            message = f"another document of the collection holds chunk {chunk.chunk_id!r}"
            raise ValueError(message) from None
        connection.execute(
            "INSERT INTO vectors VALUES (?,?)",
            (identifier, normalised(chunk.vector, scope.collection.space.dimensions)),
        )
        connection.execute(
            "INSERT INTO chunk_terms (rowid, terms) VALUES (?,?)", (identifier, " ".join(terms))
        )
    return total


def remove(connection: apsw.Connection, scope: Scope, document_id: str) -> bool:
    """Delete the document with all that belongs to it; False where there is none."""
    row = connection.execute(
        "SELECT id FROM documents WHERE collection = ? AND document_id = ?", (scope.id, document_id)
    ).fetchone()
    if row is None:
        return False
    chunks: list[tuple[int, int]] = [
        *connection.execute("SELECT id, token_count FROM chunks WHERE document = ?", row)
    ]
    keys = [(key,) for key, _ in chunks]
    connection.executemany("DELETE FROM chunk_terms WHERE rowid = ?", keys)
    connection.executemany("DELETE FROM vectors WHERE id = ?", keys)
    connection.execute("DELETE FROM chunks WHERE document = ?", row)
    connection.execute("DELETE FROM attributes WHERE document = ?", row)
    connection.execute("DELETE FROM documents WHERE id = ?", row)
    tokens = sum(count for _, count in chunks)
    catalog.count(connection, scope, Totals(-1, -len(chunks), -tokens))
    return True


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
