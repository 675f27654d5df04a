"""Writes that wait for the SQLite writer at the same time, and the commit that they share."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from query.store import StoreUnavailableError
from query.store.sqlite import writer
from query.store.sqlite.connection import connect
from query.store.sqlite.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "store.db", lambda _: None)
    await opened.write(lambda c: c.execute("CREATE TABLE written (name)").fetchall())
    yield opened
    await opened.close()


class Commits:
    """Counts commits and refuses those of these numbers, from 1."""

    def __init__(self, *refused: int) -> None:
        self.count = 0
        self._refused = refused

    def __call__(self) -> bool:
        self.count += 1
        return self.count in self._refused


def insert(name: str) -> Callable[[apsw.Connection], str]:
    def job(connection: apsw.Connection) -> str:
        connection.execute("INSERT INTO written VALUES (?)", (name,))
        if name == "wrong":
            raise ValueError(name)
        return name.upper()

    return job


async def together(
    database: Database, names: str, commits: Commits | None = None
) -> list[str | BaseException]:
    """What became of writes that all waited behind another."""
    begun, go_on = threading.Event(), threading.Event()

    def first(connection: apsw.Connection) -> None:
        begun.set()
        go_on.wait()
        connection.set_commit_hook(commits)

    blocking = asyncio.create_task(database.write(first))
    await asyncio.to_thread(begun.wait)
    waiting = [asyncio.create_task(database.write(insert(name))) for name in names.split()]
    await asyncio.sleep(0)
    go_on.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await blocking
    return results


async def written(database: Database) -> list[str]:
    rows = await database.read(lambda c: c.execute("SELECT name FROM written").fetchall())
    return [str(name) for (name,) in rows]


async def test_writes_that_wait_are_one_commit(database: Database) -> None:
    commits = Commits()
    assert await together(database, "a b c d", commits) == ["A", "B", "C", "D"]
    assert commits.count == 1
    assert await written(database) == ["a", "b", "c", "d"]


async def test_a_commit_takes_no_more_writes_once_its_time_is_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_SHARED_SECONDS", 0.0)
    commits = Commits()
    assert await together(database, "a b c", commits) == ["A", "B", "C"]
    assert commits.count == 4


async def test_a_write_that_fails_fails_alone_and_leaves_nothing(database: Database) -> None:
    first, wrong, last = await together(database, "a wrong b")
    assert (first, last) == ("A", "B")
    assert isinstance(wrong, ValueError)
    assert await written(database) == ["a", "b"]


async def test_what_a_failed_commit_held_is_committed_one_by_one(database: Database) -> None:
    every, of_b = 1, 4  # behind those of the first and of a
    a, b, c = await together(database, "a b c", Commits(every, of_b))
    assert (a, c) == ("A", "C")
    assert isinstance(b, StoreUnavailableError)
    assert await written(database) == ["a", "c"]


async def test_closing_finishes_what_waits_and_refuses_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_SHARED_SECONDS", 0.0)
    path = tmp_path / "store.db"
    database = await Database.open(path, lambda _: None)
    await database.write(lambda c: c.execute("CREATE TABLE written (name)").fetchall())
    waiting = [asyncio.create_task(database.write(insert(name))) for name in "abc"]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*waiting) == ["A", "B", "C"]
    with pytest.raises(StoreUnavailableError, match="closed"):
        await database.write(insert("d"))
    reopened = await Database.open(path, lambda _: None)
    assert await written(reopened) == ["a", "b", "c"]
    await reopened.close()


async def test_another_process_gets_its_turn_between_long_transactions(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_FREE_SECONDS", 0.05)  # long, for a busy machine
    ended: list[int] = []

    def long(number: int) -> Callable[[apsw.Connection], None]:
        def job(connection: apsw.Connection) -> None:
            insert(str(number))(connection)
            time.sleep(0.06)  # so long that nothing else goes into its transaction
            ended.append(number)

        return job

    def other() -> int:
        connection = connect(tmp_path / "store.db")
        try:
            connection.execute("BEGIN IMMEDIATE; ROLLBACK").fetchall()
            return len(ended)
        finally:
            connection.close()

    waiting = [asyncio.create_task(database.write(long(number))) for number in range(30)]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(other) <= 3
    await asyncio.gather(*waiting)


async def test_who_waits_looks_more_often_than_a_busy_writer_pauses(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = time.sleep

    def noted(seconds: float) -> None:
        waits.append(seconds)
        sleep(seconds)

    other = connect(tmp_path / "store.db")
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("query.store.sqlite.connection.BUSY_SECONDS", 0.1)
    monkeypatch.setattr(time, "sleep", noted)
    with pytest.raises(StoreUnavailableError, match="locked"):
        await database.write(insert("late"))
    other.close()
    assert waits
    assert max(waits) < getattr(writer, "_FREE_SECONDS")  # noqa: B009 # not for others
