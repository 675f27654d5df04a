"""Chunks as rows: their texts and the terms of their texts."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import json
from collections.abc import Sequence

import apsw

from query.store.model import Chunk, StoredChunk
from query.store.sqlite import full_text
from query.store.sqlite.blocks import Slots
from query.store.sqlite.catalog import Scope

_LAST_POSITION = 2**63 - 1


def put(
    connection: apsw.Connection,
    scope: Scope,
    document: int,
    chunks: Sequence[Chunk],
    slots: Slots,
) -> int:
    """Write the chunks of a document; how many terms they have together."""
    (last,) = next(
        connection.execute(
            "SELECT max(id) FROM chunks WHERE id BETWEEN ? AND ?", (scope.first_key, scope.last_key)
        )
    )
    first = scope.first_key + 1 if last is None else last + 1
    total = 0
    for key, (chunk, slot) in enumerate(zip(chunks, slots.tolist(), strict=True), start=first):
        terms, count = full_text.terms(scope, chunk.text)
        total += count
        try:
            connection.execute(
                "INSERT INTO chunks VALUES (?,?,?,?,?,?,?,?,?)",
                (key, scope.id, document, chunk.chunk_id, chunk.position, chunk.text,
                 chunk.start, chunk.end, chunk.section),
            )  # fmt: skip
        except apsw.ConstraintError:
            message = f"another document of the collection holds chunk {chunk.chunk_id!r}"
            raise ValueError(message) from None
        connection.execute(
            "INSERT INTO places VALUES (?,?,?,?,?)", (key, scope.id, document, slot, count)
        )
        connection.execute("INSERT INTO chunk_terms (rowid, terms) VALUES (?,?)", (key, terms))
    return total


def remove(connection: apsw.Connection, documents: Sequence[int]) -> list[tuple[int, int]]:
    """Delete the documents' chunks; the slot and the number of terms of each."""
    rows: list[tuple[int, int, int]] = [
        *connection.execute(
            "SELECT id, slot, token_count FROM places"
            " WHERE document IN (SELECT value FROM json_each(?))",
            (json.dumps(documents),),
        )
    ]
    for table, column in (("chunk_terms", "rowid"), ("places", "id"), ("chunks", "id")):
        connection.executemany(
            f"DELETE FROM {table} WHERE {column} = ?", [(key,) for key, _, _ in rows]
        )
    return [(slot, tokens) for _, slot, tokens in rows]


def between(
    connection: apsw.Connection, scope: Scope, document_id: str, first: int, last: int | None
) -> list[StoredChunk]:
    """The document's chunks of position `first` to `last` (None: the end), in order."""
    rows = connection.execute(
        "SELECT chunk_id, position, text, start_offset, end_offset, section FROM chunks"
        " WHERE id IN (SELECT id FROM places WHERE document ="
        " (SELECT id FROM documents WHERE collection = ? AND document_id = ?))"
        " AND position BETWEEN ? AND ? ORDER BY position",
        (scope.id, document_id, first, _LAST_POSITION if last is None else last),
    )
    return [StoredChunk(*row) for row in rows]
