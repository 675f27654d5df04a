"""The step from schema 1 to 2: vectors in blocks, and the terms of the analysis of now.

It speaks of the tables as they were then and calls nothing that changes with them.
"""

from collections.abc import Iterator

import apsw

from query.store.analysis import terms

_SEQUENCE_BITS = 36
_BLOCK_BYTES = 32 * 1024
_PIECE_BYTES = 1024 * 1024
_CHUNKS_AT_ONCE = 500


def pack_vectors_and_stem_terms(connection: apsw.Connection) -> None:
    """Bring every collection over, a few chunks at a time: memory stays bounded."""
    connection.execute(
        """
        CREATE TABLE places (
            id INTEGER PRIMARY KEY,
            collection INTEGER NOT NULL,
            document INTEGER NOT NULL,
            slot INTEGER NOT NULL,
            token_count INTEGER NOT NULL
        );
        CREATE TABLE vector_blocks (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
        CREATE TABLE vector_pieces (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);
        CREATE TABLE code_blocks (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
        CREATE TABLE code_pieces (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);
        CREATE TABLE centres (collection INTEGER PRIMARY KEY, centre BLOB NOT NULL);
        DROP TABLE term_counts;
        DROP TABLE chunk_terms;
        CREATE VIRTUAL TABLE chunk_terms USING fts5(
            terms, content='', contentless_delete=1, tokenize='ascii'
        );
        CREATE VIRTUAL TABLE term_counts USING fts5vocab(chunk_terms, 'row');
        """
    )
    collections: list[tuple[int, int]] = [
        *connection.execute("SELECT id, dimensions FROM collections")
    ]
    for collection, dimensions in collections:
        _pack(connection, collection, dimensions)
        _rebuild_terms(connection, collection)
    connection.execute(
        """
        DROP TABLE vectors;
        DROP INDEX chunks_of_document;
        ALTER TABLE chunks DROP COLUMN token_count;
        CREATE UNIQUE INDEX places_by_slot ON places (collection, slot);
        CREATE INDEX places_of_document ON places (document, slot);
        """
    )


def _pack(connection: apsw.Connection, collection: int, dimensions: int) -> None:
    rows = max(1, _BLOCK_BYTES // (4 * dimensions))
    keys = (collection << _SEQUENCE_BITS, ((collection + 1) << _SEQUENCE_BITS) - 1)
    block: list[bytes] = []
    count = 0

    def write() -> None:
        key = keys[0] + (count - 1) // rows
        connection.execute("INSERT INTO vector_blocks VALUES (?,?)", (key, b"".join(block)))
        block.clear()

    for (vector,) in connection.execute(
        "SELECT vector FROM vectors WHERE id BETWEEN ? AND ? ORDER BY id", keys
    ):
        block.append(vector)
        count += 1
        if len(block) == rows:
            write()
    if block:
        write()
    of_piece = rows * max(1, _PIECE_BYTES // (4 * dimensions * rows))
    connection.executemany(
        "INSERT INTO vector_pieces VALUES (?, random())",
        [(keys[0] + piece,) for piece in range(-(-count // of_piece))],
    )


def _rebuild_terms(connection: apsw.Connection, collection: int) -> None:
    total = 0
    for slot, (key, document, text) in enumerate(_texts(connection, collection)):
        found = terms(text)
        total += len(found)
        connection.execute(
            "INSERT INTO places VALUES (?,?,?,?,?)", (key, collection, document, slot, len(found))
        )
        connection.execute(
            "INSERT INTO chunk_terms (rowid, terms) VALUES (?,?)",
            (key, " ".join(f"{collection}x{term}" for term in found)),
        )
    connection.execute("UPDATE collections SET token_count = ? WHERE id = ?", (total, collection))


def _texts(connection: apsw.Connection, collection: int) -> Iterator[tuple[int, int, str]]:
    last = collection << _SEQUENCE_BITS
    rows: list[tuple[int, int, str]]
    while rows := [
        *connection.execute(
            "SELECT id, document, text FROM chunks WHERE id > ? AND collection = ?"
            " ORDER BY id LIMIT ?",
            (last, collection, _CHUNKS_AT_ONCE),
        )
    ]:
        yield from rows
        last = rows[-1][0]
