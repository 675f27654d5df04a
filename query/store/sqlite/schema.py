"""The schema of the SQLite store and the migrations that lead to it.

Everything hangs on `collections.id`, which only `catalog.find` gives out, by tenant and name:
- The keys of chunks and blocks carry their collection in the upper bits, so a collection is one
  range of keys in `chunks`, `places`, `chunk_terms` and the blocks, read and deleted as one piece.
- Vectors stand in blocks, a chunk's in its `slot` (see `slots`). A large collection has codes of
  them too, told from a centre (see `codes`).
- `places` says of each chunk what a search needs while it ranks: many rows to a page, as the texts
  stand elsewhere.
- `chunk_terms` holds terms prefixed with their collection (see `full_text`), so that the postings
  of one collection are never read for another.
"""

from collections.abc import Callable

import apsw

from query.store.errors import SchemaTooNewError
from query.store.sqlite.connection import transaction
from query.store.sqlite.second_schema import pack_vectors_and_stem_terms

SEQUENCE_BITS = 36

Migration = str | Callable[[apsw.Connection], None]

MIGRATIONS: tuple[Migration, ...] = (
    """
    CREATE TABLE collections (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        dimensions INTEGER NOT NULL,
        prefix TEXT NOT NULL,
        endpoint_space TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        document_count INTEGER NOT NULL DEFAULT 0,
        chunk_count INTEGER NOT NULL DEFAULT 0,
        token_count INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        UNIQUE (tenant, name)
    );
    CREATE TABLE documents (
        id INTEGER PRIMARY KEY,
        collection INTEGER NOT NULL,
        document_id TEXT NOT NULL,
        title TEXT NOT NULL,
        source TEXT NOT NULL,
        metadata TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        chunk_count INTEGER NOT NULL,
        UNIQUE (collection, document_id)
    );
    CREATE TABLE attributes (
        collection INTEGER NOT NULL,
        key TEXT NOT NULL,
        kind TEXT NOT NULL,
        value NOT NULL,
        document INTEGER NOT NULL,
        PRIMARY KEY (collection, key, kind, value, document)
    ) WITHOUT ROWID;
    CREATE INDEX attributes_of_document ON attributes (document);
    CREATE TABLE chunks (
        id INTEGER PRIMARY KEY,
        collection INTEGER NOT NULL,
        document INTEGER NOT NULL,
        chunk_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        text TEXT NOT NULL,
        start_offset INTEGER NOT NULL,
        end_offset INTEGER NOT NULL,
        section TEXT NOT NULL,
        token_count INTEGER NOT NULL,
        UNIQUE (collection, chunk_id)
    );
    CREATE INDEX chunks_of_document ON chunks (document);
    CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
    CREATE VIRTUAL TABLE chunk_terms USING fts5(
        terms, content='', contentless_delete=1, tokenize='ascii'
    );
    CREATE VIRTUAL TABLE term_counts USING fts5vocab(chunk_terms, 'row');
    """,
    pack_vectors_and_stem_terms,
)


def migrate(connection: apsw.Connection, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Bring the store to the newest schema, one transaction a step; safe for several processes.

    Raises SchemaTooNewError, before anything is changed, where the store is newer than this code.
    """
    while _version(connection) < len(migrations):
        with transaction(connection, write=True):
            version = _version(connection)
            if version < len(migrations):
                migration = migrations[version]
                if isinstance(migration, str):
                    connection.execute(migration)
                else:
                    migration(connection)
                connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER)")
                connection.execute("DELETE FROM schema_version")
                connection.execute("INSERT INTO schema_version VALUES (?)", (version + 1,))
    if (version := _version(connection)) > len(migrations):
        raise SchemaTooNewError(version, len(migrations))


def _version(connection: apsw.Connection) -> int:
    exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'"
    if connection.execute(exists).fetchone() is None:
        return 0
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    return int(row[0]) if row else 0
