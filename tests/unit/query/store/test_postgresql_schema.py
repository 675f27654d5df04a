"""The schema of the PostgreSQL store: who may make it, how it grows, and what is refused."""

import asyncio

import asyncpg
import pytest

from query.store import SchemaTooNewError, StoreUnavailableError, open_store
from query.store.postgresql import schema
from query.store.testing import corpus, dense, document, fill, ids, words
from tests.servers.postgresql import PostgresqlServer

NEWEST = len(schema.MIGRATIONS)
VERSION = "SELECT version FROM cascada.schema_version"


@pytest.fixture
async def database(postgresql: PostgresqlServer) -> str:
    return await postgresql.create_database()


async def test_what_was_written_is_there_after_reopening(
    postgresql: PostgresqlServer, database: str
) -> None:
    for _ in range(2):
        async with open_store(postgresql.url(database)) as store:
            await fill(store, "t", "c", [document("d")])
            assert ids(await store.search("t", "c", dense())) == ["d#0"]
    assert await postgresql.value(VERSION, database) == NEWEST


async def test_stores_that_open_one_empty_database_at_once_make_it_once(
    postgresql: PostgresqlServer, database: str
) -> None:
    stores = [open_store(postgresql.url(database)) for _ in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        await fill(store, "t", "c", [document(f"{number}")])
    assert len(await stores[0].search("t", "c", dense())) == 5
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_newer_schema_is_refused_and_left_alone(
    postgresql: PostgresqlServer, database: str
) -> None:
    async with open_store(postgresql.url(database)) as store:
        await fill(store, "t", "c", [document("d")])
    await postgresql.execute("UPDATE cascada.schema_version SET version = 99", database)
    with pytest.raises(SchemaTooNewError, match="99"):
        await open_store(postgresql.url(database)).open()
    assert await postgresql.value(VERSION, database) == 99


async def test_the_oldest_schema_grows_under_an_open_store_and_loses_nothing(
    postgresql: PostgresqlServer, database: str
) -> None:
    later = (*schema.MIGRATIONS, "ALTER TABLE chunks ADD extra integer DEFAULT 7")
    async with open_store(postgresql.url(database)) as store:
        await fill(store, "t", "c", corpus(8))
        before = await store.search("t", "c", words("viento luz winter"))
        async with postgresql.connected(database) as connection:
            await schema.migrate(connection, later)
            assert await connection.fetchval("SELECT DISTINCT extra FROM chunks") == 7
        assert await store.search("t", "c", words("viento luz winter")) == before
    assert await postgresql.value(VERSION, database) == NEWEST + 1


async def test_a_migration_that_fails_leaves_the_version_before_it(
    postgresql: PostgresqlServer, database: str
) -> None:
    broken = (*schema.MIGRATIONS, "CREATE TABLE extra (a integer); CREATE TABLE extra (a integer);")
    async with postgresql.connected(database) as connection:
        with pytest.raises(asyncpg.DuplicateTableError):
            await schema.migrate(connection, broken)
        assert await connection.fetchval(VERSION) == NEWEST
        assert await connection.fetchval("SELECT to_regclass('cascada.extra')") is None
        await schema.migrate(connection, (*schema.MIGRATIONS, "CREATE TABLE extra (a integer)"))
        assert await connection.fetchval(VERSION) == NEWEST + 1


async def user_of(postgresql: PostgresqlServer, database: str, rights: str) -> str:
    """Make a user without rights but these; the URL for it."""
    name = f"user_{database}"
    await postgresql.execute(f"CREATE USER {name}; {rights.format(user=name)}", database)
    return postgresql.url(database, user=name)


async def test_a_user_who_may_not_make_the_extension_is_told_whom_to_ask(
    postgresql: PostgresqlServer, database: str
) -> None:
    url = await user_of(postgresql, database, f"GRANT CREATE ON DATABASE {database} TO {{user}}")
    with pytest.raises(StoreUnavailableError, match="CREATE EXTENSION vector"):
        await open_store(url).open()
    await postgresql.execute("CREATE EXTENSION vector", database)
    async with open_store(url) as store:
        await fill(store, "t", "c", [document("d")])


async def test_a_user_who_may_not_make_a_schema_can_be_given_one(
    postgresql: PostgresqlServer, database: str
) -> None:
    await postgresql.execute("CREATE EXTENSION vector", database)
    url = await user_of(postgresql, database, "")
    with pytest.raises(StoreUnavailableError, match="grant it the rights"):
        await open_store(url).open()
    await postgresql.execute(f"CREATE SCHEMA cascada AUTHORIZATION user_{database}", database)
    async with open_store(url) as store:
        await fill(store, "t", "c", [document("d")])


async def test_a_server_without_the_extension_is_told_to_install_it(
    postgresql: PostgresqlServer, database: str
) -> None:
    await postgresql.execute(f"ALTER DATABASE {database} SET extension_control_path = '/nowhere'")
    with pytest.raises(StoreUnavailableError, match="install its package"):
        await open_store(postgresql.url(database)).open()


async def test_an_extension_that_is_too_old_is_refused(
    postgresql: PostgresqlServer, database: str
) -> None:
    await postgresql.execute(
        "CREATE EXTENSION vector; UPDATE pg_extension SET extversion = '0.7.4'", database
    )
    with pytest.raises(StoreUnavailableError, match=r"0\.7\.4.*ALTER EXTENSION vector UPDATE"):
        await open_store(postgresql.url(database)).open()


async def test_the_extension_may_be_in_a_schema_of_any_name(
    postgresql: PostgresqlServer, database: str
) -> None:
    await postgresql.execute(
        'CREATE SCHEMA "Elsewhere x"; CREATE EXTENSION vector SCHEMA "Elsewhere x"', database
    )
    async with open_store(postgresql.url(database)) as store:
        await fill(store, "t", "c", corpus(8))
        assert len(await store.search("t", "c", dense(5))) == 5
