"""A process that dies between any two steps of a write leaves the old or the new, whole."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from query.store import Filter, Store, open_store, staged
from query.store.milvus import MilvusStore, journal, promotion
from query.store.milvus.tables import DOCUMENTS
from query.store.testing import SPACE, dense, document, fill, words
from query.store.testing.corpus import in_space
from query.store.testing.promoting import NEXT
from tests.servers.milvus_lite import MilvusLiteServer
from tests.unit.query.store.milvus_rows import Rows, rows

CHUNKS = 5  # of each document of the writer
ROOT = Path(__file__).parents[4]
WRITER = Path(__file__).with_name("writer_process.py")

OLD = document("d", ["word old"] * 3)
NEW = document("d", ["word new"] * 2, {"k": "v" * 100_000}, seed=1)
OLD_TEXTS, NEW_TEXTS = ("word old",) * 3, ("word new",) * 2


class DiedError(Exception):
    """The process is no more."""


async def die_after(steps: int, url: str, work: Callable[[Store], Awaitable[object]]) -> bool:
    """Do the work in an adapter that changes nothing more after so many steps; whether it died."""
    store = open_store(url)
    assert isinstance(store, MilvusStore)
    await store.open()
    left = steps

    def dying(change: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def step(*values: Any) -> None:
            nonlocal left
            if left == 0:
                raise DiedError
            left -= 1
            await change(*values)

        return step

    connection: Any = store._connection
    for name in ("insert", "upsert", "delete"):
        setattr(connection, name, dying(getattr(connection, name)))
    try:
        await work(store)
    except DiedError:
        return True
    finally:
        await store.close()
    return False


async def texts(store: Store) -> tuple[str, ...]:
    """What every way to read says is there, after checking that they agree."""
    only = Filter(frozenset({"d"}))
    found = await store.search("t", "c", words("word", restriction=only))
    assert len(await store.search("t", "c", dense(100, restriction=only))) == len(found)
    chunks = await store.get_chunks("t", "c", "d")
    assert sorted(hit.chunk_id for hit in found) == [chunk.chunk_id for chunk in chunks]
    stored = await store.get_document("t", "c", "d")
    assert (stored.chunk_count if stored else 0) == len(chunks)
    return tuple(chunk.text for chunk in chunks)


@pytest.fixture
def url(milvus_lite: MilvusLiteServer) -> str:
    return milvus_lite.create_database()


async def put_new(store: Store) -> None:
    await store.put_document("t", "c", SPACE, "", NEW)


async def delete(store: Store) -> None:
    await store.delete_documents("t", "c", ["d"])


@pytest.mark.parametrize(
    ("work", "after", "steps"), [(put_new, NEW_TEXTS, 8), (delete, (), 5)], ids=["put", "delete"]
)
async def test_a_document_is_the_old_or_the_new_after_a_crash_at_any_step(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Store], Awaitable[None]],
    after: tuple[str, ...],
    steps: int,
) -> None:
    seen = []
    for step in range(steps):
        async with open_store(url) as store:
            await fill(store, "t", "c", [OLD])
        assert await die_after(step, url, work), step
        async with open_store(url) as store:
            seen.append(await texts(store))
        # What has died long ago is cleared away when the next adapter opens.
        monkeypatch.setattr(journal, "STALE_SECONDS", -1.0)
        async with open_store(url) as store:
            assert await texts(store) == seen[-1]
            left = await rows(store)
        monkeypatch.undo()
        expected = {OLD_TEXTS: Rows(1, 3, 0), NEW_TEXTS: Rows(1, 3, 0), (): Rows(0, 0, 0)}
        assert left == expected[seen[-1]], step
    assert set(seen) == {OLD_TEXTS, after}
    assert seen == sorted(seen, key=[OLD_TEXTS, after].index)
    assert not await die_after(steps, url, work)


async def test_the_next_write_of_a_document_clears_away_what_a_crash_has_left(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(url) as store:
        await fill(store, "t", "c", [OLD, document("other")])
        for step in range(3, 7):
            assert await die_after(step, url, put_new)
        assert (await rows(store)).chunks > 3 + 1
        monkeypatch.setattr(journal, "STALE_SECONDS", -1.0)
        await put_new(store)
        assert await texts(store) == NEW_TEXTS
        assert (await rows(store)).chunks == 3 + 1
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert (collection.document_count, collection.chunk_count) == (2, 3)


async def test_a_write_under_way_is_not_taken_for_one_that_has_died(url: str) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    async with open_store(url) as slow, open_store(url) as quick:
        await fill(quick, "t", "c", [OLD])
        assert isinstance(slow, MilvusStore)
        connection: Any = slow._connection
        upsert = connection.upsert

        async def late(table: str, some: object) -> None:
            if table == DOCUMENTS:
                reached.set()
                await go_on.wait()
            await upsert(table, some)

        connection.upsert = late
        writing = asyncio.create_task(put_new(slow))
        await reached.wait()
        await fill(quick, "t", "c", [document("d", ["word between"], seed=2)])
        await delete(quick)
        async with open_store(url):
            pass
        go_on.set()
        await writing
        assert await texts(quick) == NEW_TEXTS
        assert await rows(quick) == Rows(1, 3, 0)


async def delete_collection(store: Store) -> None:
    await store.delete_collection("t", "c")


async def test_a_collection_is_whole_or_gone_after_a_crash_at_any_step(url: str) -> None:
    seen = []
    for step in range(6):
        async with open_store(url) as store:
            await fill(store, "t", "c", [OLD, document("other")])
        assert await die_after(step, url, delete_collection), step
        async with open_store(url) as store:
            collection = await store.get_collection("t", "c")
            seen.append(collection is not None)
            if collection is not None:
                assert await texts(store) == OLD_TEXTS
                assert collection.document_count == 2
                await delete_collection(store)
            # What was given up is cleared away whenever an adapter opens.
            assert await rows(store) == Rows(0, 0, step == 1)
    assert seen == [True, True, False, False, False, False]


async def test_what_a_collection_held_does_not_come_back_with_its_name(url: str) -> None:
    async with open_store(url) as store:
        await fill(store, "t", "c", [OLD, document("other")])
        assert await die_after(2, url, delete_collection)
        assert await store.get_collection("t", "c") is None
        await fill(store, "t", "c", [document("renewed", ["word"])])
        listed, _ = await store.list_documents("t", "c", 10)
        assert [each.document_id for each in listed] == ["renewed"]
        assert len(await store.search("t", "c", words("word"))) == 1


async def promote(store: Store) -> None:
    await store.promote_collection("t", "c")


async def test_a_promotion_has_happened_or_not_after_a_crash_at_any_step(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hold of one that has died ends soon, and one that lives has time enough.
    monkeypatch.setattr(promotion, "HOLD_SECONDS", 20.0)
    monkeypatch.setattr(promotion, "MARGIN_SECONDS", -19.8)
    seen = []
    for step in range(7):
        async with open_store(url) as store:
            await store.delete_collection("t", "c")
            await fill(store, "t", "c", [document("d", ["word old"] * 3, seed=1)])
            beside = in_space(NEW, NEXT)
            await store.put_document("t", staged("c"), NEXT, "", beside)
        assert await die_after(step, url, promote), step
        async with open_store(url) as store:
            collection = await store.get_collection("t", "c")
            assert collection is not None
            promoted = collection.space == NEXT
            seen.append(promoted)
            chunks = await store.get_chunks("t", "c", "d")
            assert tuple(chunk.text for chunk in chunks) == (NEW_TEXTS if promoted else OLD_TEXTS)
            assert (await store.get_collection("t", staged("c")) is None) is promoted
            # A hold that nobody ends any more ends by itself.
            await store.delete_documents("t", "c", ["d"])
            assert (await rows(store)).chunks == 0
            await store.delete_collection("t", staged("c"))
            assert (await rows(store, NEXT.dimensions)).chunks == 0
    assert seen == [False, False, False, True, True, True, True]


@pytest.mark.parametrize("acknowledged", [1, 6, 17])
async def test_kill_9_loses_no_acknowledged_document_and_leaves_none_half(
    url: str, acknowledged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), url, "d", "1000000",
        stdout=PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert writer.stdout is not None
    names = [(await writer.stdout.readline()).decode().strip() for _ in range(acknowledged)]
    writer.kill()
    rest, _ = await writer.communicate()
    names += [line.decode() for line in rest.split(b"\n")[:-1]]
    monkeypatch.setattr(journal, "STALE_SECONDS", -1.0)
    async with open_store(url) as store:
        documents, _ = await store.list_documents("t", "c", 1000)
        found = {each.document_id for each in documents}
        expected = {f"{name}#{n}" for name in found for n in range(CHUNKS)}
        assert {hit.chunk_id for hit in await store.search("t", "c", dense(1000))} == expected
        by_words = await store.search("t", "c", words("passage"))
        assert {hit.chunk_id for hit in by_words} == expected
        assert await rows(store) == Rows(len(found), len(expected), 0)
    assert set(names) <= found
    assert len(found - set(names)) <= 1  # the one whose acknowledgement was not heard
