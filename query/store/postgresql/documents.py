"""Documents as rows: written, replaced, listed and deleted as one unit with all their chunks."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import json
from collections.abc import Sequence

import asyncpg

from query.store.model import StoredChunk, StoredDocument
from query.store.postgresql import catalog
from query.store.postgresql.catalog import Place, Totals
from query.store.postgresql.connection import Connection
from query.store.postgresql.content import Content
from query.store.postgresql.texts import original, stored

_COLUMNS = "document_id, title, source, metadata, content_hash, chunk_count"
_LAST_POSITION = 2**63 - 1


async def put(connection: Connection, place: Place, content: Content) -> bool:
    """Write the document in place of the one of the same id; True where there was one."""
    key, old = await _row(connection, place, content)
    if old is not None:
        await _clear(connection, place.id, [key])
    await _put_chunks(connection, place, key, content)
    await connection.execute(
        "INSERT INTO attributes (collection, document, key, value, number)"
        " SELECT $1, $2, * FROM unnest($3::bytea[], $4::bytea[], $5::numeric[])",
        *(place.id, key, *content.attributes),
    )
    chunks, tokens = len(content.vectors), content.postings.tokens
    gone = old or Totals()
    change = Totals(1 - gone.documents, chunks - gone.chunks, tokens - gone.tokens)
    await catalog.count(connection, place, change)
    return old is not None


async def _row(connection: Connection, place: Place, content: Content) -> tuple[int, Totals | None]:
    """The document's own row, written and locked, and what it held before."""
    document_id = content.document_id
    counts = (len(content.vectors), content.postings.tokens)
    while True:
        row = await connection.fetchrow(
            "SELECT id, chunk_count, token_count FROM documents"
            " WHERE collection = $1 AND document_id = $2 FOR UPDATE",
            *(place.id, document_id),
        )
        if row is not None:
            await connection.execute(
                "UPDATE documents SET title = $3, source = $4, metadata = $5, content_hash = $6,"
                " chunk_count = $7, token_count = $8 WHERE collection = $1 AND id = $2",
                *(place.id, row["id"], *content.fields, *counts),
            )
            return row["id"], Totals(1, row["chunk_count"], row["token_count"])
        key = await connection.fetchval(
            "INSERT INTO documents (collection, document_id, title, source, metadata,"
            " content_hash, chunk_count, token_count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            " ON CONFLICT DO NOTHING RETURNING id",
            *(place.id, document_id, *content.fields, *counts),
        )
        if key is not None:
            return key, None
        # Another writer was first; its document is there now, or deleted again.


async def _put_chunks(connection: Connection, place: Place, key: int, content: Content) -> None:
    try:
        await connection.execute(
            "INSERT INTO chunks (collection, document, ordinal, position, start_offset, end_offset,"
            " digest, chunk_id, section, text) SELECT $1, $2, * FROM unnest($3::integer[],"
            " $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[], $8::text[], $9::text[],"
            " $10::text[])",
            *(place.id, key, *content.chunks),
        )
    except asyncpg.UniqueViolationError:
        raise ValueError("another document of the collection holds a chunk of this one") from None
    await connection.execute(
        "INSERT INTO vectors (collection, document, ordinal, vector)"
        " SELECT $1, $2, * FROM unnest($3::integer[], $4::vector[])",
        *(place.id, key, content.chunks[0], content.vectors),
    )
    terms, data = content.postings.rows(key)
    await connection.execute(
        "INSERT INTO postings (collection, document, term, data)"
        " SELECT $1, $2, * FROM unnest($3::text[], $4::bytea[])",
        *(place.id, key, terms, data),
    )


async def remove(connection: Connection, place: Place, document_ids: Sequence[str]) -> list[str]:
    """Delete the documents with all that belongs to them; the ids that were there."""
    # Locked in one order, whoever deletes them.
    rows = await connection.fetch(
        "SELECT id, document_id, chunk_count, token_count FROM documents WHERE collection = $1"
        " AND document_id = ANY ($2::text[]) ORDER BY document_id FOR UPDATE",
        *(place.id, [stored(each) for each in document_ids]),
    )
    if not rows:
        return []
    keys = [row["id"] for row in rows]
    await delete(connection, place.id, keys)
    chunks = sum(row["chunk_count"] for row in rows)
    tokens = sum(row["token_count"] for row in rows)
    await catalog.count(connection, place, Totals(-len(rows), -chunks, -tokens))
    there = {original(row["document_id"]) for row in rows}
    return [each for each in document_ids if each in there]


async def delete(connection: Connection, collection: int, keys: Sequence[int]) -> None:
    """Delete the documents of these numbers with all that belongs to them."""
    await _clear(connection, collection, keys)
    await connection.execute(
        "DELETE FROM documents WHERE collection = $1 AND id = ANY ($2::bigint[])", collection, keys
    )


async def _clear(connection: Connection, collection: int, keys: Sequence[int]) -> None:
    """Delete what hangs on the documents of these numbers."""
    await connection.execute(
        "WITH a AS (DELETE FROM attributes WHERE collection = $1 AND document = ANY ($2)),"
        " b AS (DELETE FROM chunks WHERE collection = $1 AND document = ANY ($2)),"
        " c AS (DELETE FROM vectors WHERE collection = $1 AND document = ANY ($2))"
        " DELETE FROM postings WHERE collection = $1 AND document = ANY ($2::bigint[])",
        *(collection, keys),
    )


async def get(connection: Connection, place: Place, document_id: str) -> StoredDocument | None:
    """The document of that id, without its text."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM documents WHERE collection = $1 AND document_id = $2",
        *(place.id, stored(document_id)),
    )
    return None if row is None else _stored(row)


async def chunks(
    connection: Connection, place: Place, document_id: str, first: int, last: int | None
) -> list[StoredChunk]:
    """The document's chunks of position `first` to `last` (None: the end), in order."""
    rows = await connection.fetch(
        "SELECT chunk_id, position, text, start_offset, end_offset, section FROM chunks"
        " WHERE collection = $1 AND document ="
        " (SELECT id FROM documents WHERE collection = $1 AND document_id = $2)"
        " AND position BETWEEN $3 AND $4 ORDER BY position",
        *(place.id, stored(document_id), first, _LAST_POSITION if last is None else last),
    )
    return [
        StoredChunk(
            chunk_id=original(row["chunk_id"]),
            position=row["position"],
            text=original(row["text"]),
            start=row["start_offset"],
            end=row["end_offset"],
            section=original(row["section"]),
        )
        for row in rows
    ]


async def page(
    connection: Connection, place: Place, after: str, limit: int
) -> list[StoredDocument]:
    """The documents by id, those behind `after`."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM documents WHERE collection = $1 AND document_id > $2"
        " ORDER BY document_id LIMIT $3",
        *(place.id, stored(after), limit),
    )
    return [_stored(row) for row in rows]


def _stored(row: asyncpg.Record) -> StoredDocument:
    return StoredDocument(
        document_id=original(row["document_id"]),
        title=original(row["title"]),
        source=original(row["source"]),
        metadata=json.loads(row["metadata"]),
        content_hash=original(row["content_hash"]),
        chunk_count=row["chunk_count"],
    )
