"""The PostgreSQL store's server: when it dies, falls silent, is slow, refuses, and speaks TLS."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from query.store import Store, StoreUnavailableError, open_store
from query.store.postgresql import database as database_module
from query.store.testing import SPACE, corpus, dense, document, fill, ids
from tests.servers.postgresql import PostgresqlServer
from tests.servers.relay import Relay
from tests.unit.service_core.tls.certificates import Certificates

SECRET = "canary-77aa"


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresqlServer]:
    """A server of this module's own, which its tests may kill."""
    with PostgresqlServer() as server:
        yield server


async def error_of(store: Store) -> str:
    """What a search and a write say, which must be the same kind of error."""
    with pytest.raises(StoreUnavailableError) as read:
        await store.search("t", "c", dense())
    with pytest.raises(StoreUnavailableError):
        await store.put_document("t", "c", SPACE, "", document("lost"))
    return str(read.value)


async def test_a_killed_server_is_reported_and_found_again_with_all_that_was_acknowledged(
    mortal: PostgresqlServer,
) -> None:
    url = mortal.url(await mortal.create_database())
    async with open_store(url) as store, open_store(url) as second:
        await asyncio.gather(
            *(fill(one, "t", "c", corpus(12)) for one in (store, second)),
        )
        before = await store.search("t", "c", dense())
        mortal.kill()
        assert "PostgreSQL" in await error_of(store)
        assert not await store.healthy()
        mortal.start()
        for one in (store, second):
            assert await one.healthy()
            assert await one.search("t", "c", dense()) == before
            await fill(one, "t", "c", [document("after")])


async def test_a_server_that_dies_under_writers_loses_nothing_that_it_acknowledged(
    mortal: PostgresqlServer,
) -> None:
    acknowledged = set[str]()
    enough = asyncio.Event()

    async def write(one: Store, prefix: str) -> None:
        for number in range(100_000):
            try:
                await fill(one, "t", "c", [document(f"{prefix}{number}", ["word"] * 3)])
            except StoreUnavailableError:
                return
            acknowledged.add(f"{prefix}{number}")
            if len(acknowledged) == 20:
                enough.set()

    async with open_store(mortal.url(await mortal.create_database())) as store:
        writers = [asyncio.create_task(write(store, prefix)) for prefix in "abcd"]
        await enough.wait()
        mortal.kill()
        await asyncio.gather(*writers)
        mortal.start()
        documents, _ = await store.list_documents("t", "c", 1000)
        names = {each.document_id for each in documents}
        collection = await store.get_collection("t", "c")
        assert acknowledged <= names
        assert len(names - acknowledged) <= len(writers)
        assert collection is not None
        assert (collection.document_count, collection.chunk_count) == (len(names), 3 * len(names))
        assert len(await store.search("t", "c", dense(1000))) == 3 * len(names)


async def test_an_absent_server_is_reported_at_the_start() -> None:
    async with Relay(Path("/nowhere")) as relay:
        free = relay.port
    for place in (f"u:{SECRET}@127.0.0.1:{free}", f"u:{SECRET}@/db?host=%2Fnowhere"):
        with pytest.raises(StoreUnavailableError, match="cannot be reached") as raised:
            await open_store(f"postgresql://{place}").open()
        assert SECRET not in str(raised.value)


async def test_a_refused_password_and_an_absent_database_are_told_apart(
    postgresql: PostgresqlServer,
) -> None:
    for url, sentence in (
        (postgresql.url(user="nobody_of_this_name"), "refused the user or password"),
        (postgresql.url("no_such_database"), "no database of the name"),
    ):
        with pytest.raises(StoreUnavailableError, match=sentence) as raised:
            await open_store(url).open()
        assert "nobody_of" not in str(raised.value)


async def test_a_silent_server_keeps_nobody_who_has_given_up(
    postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "HEALTH_SECONDS", 0.2)
    monkeypatch.setattr(database_module, "_FAREWELL_SECONDS", 0.2)
    name = await postgresql.create_database()
    async with (
        Relay(postgresql.socket) as relay,
        open_store(f"postgresql://postgres@127.0.0.1:{relay.port}/{name}") as store,
    ):
        await fill(store, "t", "c", [document("d")])
        relay.spoken.clear()
        # Far below the half minute after which the driver gives up by itself.
        async with asyncio.timeout(10):
            assert not await store.healthy()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await store.search("t", "c", dense())
        monkeypatch.undo()
        relay.spoken.set()
        assert await store.healthy()
        assert ids(await store.search("t", "c", dense())) == ["d#0"]


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [("lock_timeout", "locked for too long"), ("statement_timeout", "took too long")],
)
async def test_a_document_that_is_held_for_too_long_is_reported_and_others_are_written(
    postgresql: PostgresqlServer, limit: str, sentence: str
) -> None:
    name = await postgresql.create_database()
    async with open_store(postgresql.url(name, **{limit: "1s"})) as store:
        await fill(store, "t", "c", [document("d"), document("e")])
        async with postgresql.connected(name) as connection:
            await connection.execute(
                "BEGIN; SELECT FROM cascada.documents WHERE document_id = 'd' FOR UPDATE"
            )
            with pytest.raises(StoreUnavailableError, match=sentence):
                await fill(store, "t", "c", [document("d", ["new"])])
            await fill(store, "t", "c", [document("e", ["new"]), document("f")])
            await connection.execute("ROLLBACK")
        await fill(store, "t", "c", [document("d", ["new"])])


async def test_more_callers_than_connections_wait_for_one(postgresql: PostgresqlServer) -> None:
    url = postgresql.url(await postgresql.create_database(), pool_size="2")
    async with open_store(url) as store:
        await fill(store, "t", "c", corpus(20))
        found = await asyncio.gather(*(store.search("t", "c", dense()) for _ in range(30)))
        assert all(hits == found[0] for hits in found)


async def test_a_closed_store_is_unhealthy_and_says_so(postgresql_url: str) -> None:
    store = open_store(postgresql_url)
    assert not await store.healthy()
    async with store:
        assert await store.healthy()
    assert not await store.healthy()
    assert "not open" in await error_of(store)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def tls_of(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
    return context


async def test_the_servers_certificate_is_verified_where_the_url_says_so(
    postgresql: PostgresqlServer, certificates: Certificates
) -> None:
    name = await postgresql.create_database()
    async with Relay(postgresql.socket, tls_of(certificates)) as relay:
        place = f"postgresql://postgres@localhost:{relay.port}/{name}?sslmode=verify-full"
        async with open_store(f"{place}&sslrootcert={certificates.path('ca.pem')}") as store:
            await fill(store, "t", "c", [document("d")])
            assert ids(await store.search("t", "c", dense())) == ["d#0"]
        assert relay.encrypted > 0
        with pytest.raises(StoreUnavailableError, match="certificate is not accepted"):
            await open_store(f"{place}&sslrootcert={certificates.path('server.pem')}").open()
        with pytest.raises(StoreUnavailableError, match="files that CASCADA_STORE names"):
            await open_store(f"{place}&sslrootcert=/nowhere/{SECRET}").open()


async def test_a_server_without_tls_is_refused_where_the_url_requires_it(
    postgresql: PostgresqlServer,
) -> None:
    name = await postgresql.create_database()
    async with Relay(postgresql.socket) as relay:
        place = f"postgresql://postgres@127.0.0.1:{relay.port}/{name}"
        with pytest.raises(StoreUnavailableError, match="sslmode"):
            await open_store(f"{place}?sslmode=require").open()
        async with open_store(f"{place}?sslmode=disable") as store:
            assert await store.healthy()
