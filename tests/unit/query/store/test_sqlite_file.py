"""The SQLite store's file: where it is, its schema, and what happens when it fails."""

import asyncio
import stat
import threading
from pathlib import Path

import apsw
import pytest

from query.store import StoreUnavailableError, open_store, staged
from query.store.sqlite.connection import connect
from query.store.sqlite.database import READERS, Database
from query.store.testing import SPACE, dense, document, fill


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


async def test_folder_and_file_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.db"
    async with open_store(url_of(path)) as store:
        await fill(store, "t", "c", [document("d")])
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_relative_path_is_under_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_store("sqlite:///data/store.db"):
        assert (tmp_path / "data" / "store.db").exists()


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite", "/a/path", "SQLITE:///a", ""])
def test_an_unknown_scheme_is_refused_with_those_known(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite://"):
        open_store(url)


@pytest.mark.parametrize(
    "parameters",
    ["?approximate_from", "?approximate_from=", "?approximate_from=-1", "?approximate_from=1e6",
     "?approximate_from=²", "?mode=ro", "?approximate_from=1&mode=ro"],
)  # fmt: skip
def test_an_unknown_parameter_is_refused_with_the_one_known(parameters: str) -> None:
    with pytest.raises(ValueError, match="approximate_from= and a number of bytes"):
        open_store(f"sqlite:///store.db{parameters}")


@pytest.mark.parametrize(
    "url", ["sqlite://a.db", "sqlite:///", "sqlite:///folder/", "sqlite:///?approximate_from=1"]
)
def test_a_sqlite_url_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="relative"):
        open_store(url)


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    url = url_of(tmp_path / "store.db")
    async with open_store(url) as store:
        await fill(store, "t", "c", [document("d")])
    async with open_store(url) as store:
        assert await store.get_document("t", "c", "d") is not None


async def test_a_deleted_collection_leaves_no_row(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(f"{url_of(path)}?approximate_from=1") as store:
        for name in ("c", staged("c"), "gone"):
            await fill(store, "t", name, [document("d", ["one", "two"], {"k": "v"})])
        await store.promote_collection("t", "c")
        for name in ("c", "gone"):
            await store.delete_collection("t", name)
    connection = connect(path)
    for (table,) in connection.execute("SELECT name FROM pragma_table_list WHERE schema = 'main'"):
        if not str(table).startswith(("sqlite_", "chunk_terms", "schema_version")):
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == []  # noqa: S608
    connection.close()


async def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is a text, and no database at all. " * 100)
    with pytest.raises(StoreUnavailableError, match="not a SQLite database"):
        await open_store(url_of(path)).open()


async def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="folder"):
        await open_store(url_of(tmp_path / "file" / "store.db")).open()


async def test_a_full_disk_is_reported_and_undoes_the_document(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(url_of(path)) as store:
        await fill(store, "t", "c", [document("kept")])
        database = getattr(store, "_database")  # noqa: B009 - not part of the port
        assert isinstance(database, Database)
        # A maximum below the present size is set to the present size.
        await database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())
        with pytest.raises(StoreUnavailableError, match="disk is full"):
            await fill(store, "t", "c", [document("lost", ["long " * 10_000] * 20)])
        assert await store.get_document("t", "c", "lost") is None
        assert [hit.document_id for hit in await store.search("t", "c", dense())] == ["kept"]


async def test_a_writer_that_waits_too_long_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query.store.sqlite.connection.BUSY_SECONDS", 0.05)
    path = tmp_path / "store.db"
    async with open_store(url_of(path)) as store:
        await fill(store, "t", "c", [document("d")])
        other = connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            await fill(store, "t", "c", [document("e")])
        assert await store.get_document("t", "c", "d") is not None
        other.execute("ROLLBACK")
        await fill(store, "t", "c", [document("e")])
        other.close()


async def test_a_new_file_that_another_process_writes_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE kept (at); BEGIN IMMEDIATE").fetchall()
    store = open_store(url_of(path))
    opening = asyncio.create_task(store.open())
    done, _ = await asyncio.wait([opening], timeout=0.2)
    assert not done
    other.execute("COMMIT")
    other.close()
    async with asyncio.timeout(10):
        await opening
    await fill(store, "t", "c", [document("d")])
    await store.close()


async def test_a_closed_store_is_unhealthy_and_says_so(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path / "store.db"))
    assert not await store.healthy()
    async with store:
        assert await store.healthy()
    assert not await store.healthy()
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.put_document("t", "c", SPACE, "", document("d"))


async def test_a_write_that_has_begun_is_finished_when_its_task_is_cancelled(
    tmp_path: Path,
) -> None:
    database = await Database.open(tmp_path / "store.db", lambda _: None)
    begun, go_on = threading.Event(), threading.Event()

    def write(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE first (a)")
        begun.set()
        go_on.wait()
        connection.execute("CREATE TABLE second (a)")

    task = asyncio.create_task(database.write(write))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    tables = await database.write(
        lambda c: c.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%(a)'").fetchall()
    )
    await database.close()
    assert tables == [("first",), ("second",)]


async def test_a_write_that_has_not_begun_is_not_done_when_its_task_is_cancelled(
    tmp_path: Path,
) -> None:
    database = await Database.open(tmp_path / "store.db", lambda _: None)
    go_on = threading.Event()
    first = asyncio.create_task(database.write(lambda _: go_on.wait()))
    ran = threading.Event()
    second = asyncio.create_task(database.write(lambda _: ran.set()))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await first
    await database.close()
    assert not ran.is_set()


async def test_a_read_that_has_not_begun_is_not_done_when_its_task_is_cancelled(
    tmp_path: Path,
) -> None:
    database = await Database.open(tmp_path / "store.db", lambda _: None)
    go_on = threading.Event()
    busy = [asyncio.create_task(database.read(lambda _: go_on.wait())) for _ in range(READERS)]
    ran = threading.Event()
    waiting = asyncio.create_task(database.read(lambda _: ran.set()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(*busy)
    await database.close()
    assert not ran.is_set()
