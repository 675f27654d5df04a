"""The schema of the PostgreSQL store and the migrations that lead to it.

All is in the schema `cascada`. Everything hangs on `collections.id`, which only `catalog` gives
out, by tenant and name; it leads every key, so that a collection is one range of each index.
- A document's rows are keyed by its own number and their place in it, `ordinal`.
- `tallies` holds the counts of a collection in slots, each a few connections' own, so that writers
  of different documents do not wait for one another; a collection's counts are the sums.
- `attributes` compares metadata: `number` holds numbers exactly, `value` a digest of anything else,
  and `key` a digest of its name, so that none is too long for an index.
- `postings` holds a document's share of each term's chunks (see `full_text`); the index holds the
  data too, so that a term is read in one piece.
- `vector_indexes` says which collections have an index that proved good (see `vector_index`).
- `discarded` names collections that are gone, whose rows remain to be deleted.
"""

import asyncpg

from query.store.errors import SchemaTooNewError, StoreUnavailableError
from query.store.postgresql.connection import Connection

SCHEMA = "cascada"
MINIMUM_PGVECTOR = (0, 8)

# Names the lock under which processes that start at once migrate one after another.
_LOCK = 0x_CA5C_ADA0

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE collections (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        dimensions integer NOT NULL,
        prefix text NOT NULL,
        endpoint_space text NOT NULL,
        endpoint text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (tenant, name)
    );
    CREATE TABLE tallies (
        collection integer,
        slot integer,
        documents bigint NOT NULL,
        chunks bigint NOT NULL,
        tokens bigint NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (collection, slot)
    ) WITH (fillfactor = 50);
    CREATE TABLE documents (
        id bigint GENERATED ALWAYS AS IDENTITY,
        collection integer,
        document_id text COLLATE "C" NOT NULL,
        title text NOT NULL,
        source text NOT NULL,
        metadata text NOT NULL,
        content_hash text NOT NULL,
        chunk_count bigint NOT NULL,
        token_count bigint NOT NULL,
        PRIMARY KEY (collection, id),
        UNIQUE (collection, document_id)
    );
    CREATE TABLE attributes (
        document bigint,
        collection integer,
        key bytea,
        value bytea,
        number numeric,
        PRIMARY KEY (collection, document, key)
    );
    CREATE INDEX attributes_by_value ON attributes (collection, key, value, document)
        WHERE value IS NOT NULL;
    CREATE INDEX attributes_by_number ON attributes (collection, key, number, document)
        WHERE number IS NOT NULL;
    CREATE TABLE chunks (
        document bigint,
        collection integer,
        ordinal integer,
        position bigint NOT NULL,
        start_offset bigint NOT NULL,
        end_offset bigint NOT NULL,
        digest bytea NOT NULL,
        chunk_id text COLLATE "C" NOT NULL,
        section text NOT NULL,
        text text NOT NULL,
        PRIMARY KEY (collection, document, ordinal),
        UNIQUE (collection, digest)
    );
    CREATE TABLE vectors (
        document bigint,
        collection integer,
        ordinal integer,
        vector vector NOT NULL,
        PRIMARY KEY (collection, document, ordinal)
    );
    ALTER TABLE vectors ALTER vector SET STORAGE MAIN;
    CREATE TABLE postings (
        document bigint NOT NULL,
        collection integer NOT NULL,
        term text COLLATE "C" NOT NULL,
        data bytea NOT NULL
    );
    CREATE INDEX postings_by_term ON postings (collection, term, document) INCLUDE (data);
    CREATE INDEX postings_by_document ON postings (document);
    CREATE TABLE vector_indexes (
        collection integer PRIMARY KEY,
        chunks bigint NOT NULL,
        ef_search integer
    );
    CREATE TABLE discarded (collection integer PRIMARY KEY);
    """,
)


async def migrate(connection: Connection, migrations: tuple[str, ...] = MIGRATIONS) -> str:
    """Bring the store to the newest schema, one transaction a step; safe for several processes.

    Returns the schema in which the vector extension is. Raises SchemaTooNewError, before anything
    is changed, where the store is newer than this code, and StoreUnavailableError where the
    extension is missing and cannot be made.
    """
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        version = await _version(connection)
        if version > len(migrations):
            raise SchemaTooNewError(version, len(migrations))
        place = await _extension(connection)
        await connection.execute(f'SET search_path = {SCHEMA}, "{place}"')
        for number in range(version, len(migrations)):
            async with connection.transaction():
                if number == 0:
                    await _make_schema(connection)
                await connection.execute(migrations[number])
                await connection.execute("UPDATE schema_version SET version = $1", number + 1)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return place


async def _version(connection: Connection) -> int:
    if await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.schema_version") is None:
        return 0
    found = await connection.fetchval(f"SELECT version FROM {SCHEMA}.schema_version")  # noqa: S608
    return int(found or 0)


async def _make_schema(connection: Connection) -> None:
    # An administrator may have made it for a user who may not.
    if await connection.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None:
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    await connection.execute(
        "CREATE TABLE schema_version (version integer NOT NULL);"
        "INSERT INTO schema_version VALUES (0)"
    )


async def _extension(connection: Connection) -> str:
    """The schema of the vector extension, which is made where it is absent."""
    found = await _found_extension(connection)
    if found is None:
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except asyncpg.InsufficientPrivilegeError:
            raise StoreUnavailableError(
                "PostgreSQL's extension pgvector is not in the database of CASCADA_STORE, and its "
                "user may not make it: let an administrator run CREATE EXTENSION vector there."
            ) from None
        except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError):
            raise StoreUnavailableError(
                "PostgreSQL has no extension pgvector: install its package on the server."
            ) from None
        found = await _found_extension(connection)
    assert found is not None
    place, version = found
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_PGVECTOR:
        raise StoreUnavailableError(
            f"PostgreSQL's extension pgvector is {version}, and 0.8 or newer is needed: update its "
            "package, then run ALTER EXTENSION vector UPDATE."
        )
    return place


async def _found_extension(connection: Connection) -> tuple[str, str] | None:
    row = await connection.fetchrow(
        "SELECT nspname, extversion FROM pg_extension JOIN pg_namespace ON"
        " pg_namespace.oid = extnamespace WHERE extname = 'vector'"
    )
    return None if row is None else (str(row["nspname"]), str(row["extversion"]))
