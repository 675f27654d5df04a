"""What the Milvus store does where two are at one thing, step by step in the worst order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from query.store import SearchQuery, SpaceMismatchError, Store, open_store, staged
from query.store.milvus import MilvusStore, passages
from query.store.milvus.keys import any_of, ordered_key
from query.store.milvus.tables import CATALOG, DOCUMENTS
from query.store.testing import SPACE, dense, document, fill, hybrid, words
from query.store.testing.corpus import in_space
from query.store.testing.promoting import NEXT, fill_next
from tests.servers.milvus_lite import MilvusLiteServer
from tests.unit.query.store.milvus_rows import Rows, rows


@pytest.fixture
def url(milvus_lite: MilvusLiteServer) -> str:
    return milvus_lite.create_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with open_store(url) as opened:
        yield opened


@pytest.fixture
async def other(url: str, store: Store) -> AsyncIterator[Store]:
    del store  # opened first
    async with open_store(url) as opened:
        yield opened


@dataclass(slots=True)
class Gate:
    """Where a call of the store's connection stands still."""

    reached: asyncio.Event
    go_on: asyncio.Event


def stop(
    store: Store, name: str, *, when: Callable[..., bool] = lambda *_: True, after: bool = False
) -> Gate:
    """Let the first such call stand still, before or after it is done."""
    assert isinstance(store, MilvusStore)
    connection: Any = store._connection
    gate = Gate(asyncio.Event(), asyncio.Event())
    call: Callable[..., Awaitable[object]] = getattr(connection, name)

    async def standing(*values: Any, **options: Any) -> object:
        first = not gate.reached.is_set() and when(*values)
        if first:
            gate.reached.set()
        if first and not after:
            await gate.go_on.wait()
        result = await call(*values, **options)
        if first and after:
            await gate.go_on.wait()
        return result

    setattr(connection, name, standing)
    return gate


def to_documents(table: str, *_: object) -> bool:
    return table == DOCUMENTS


@pytest.mark.parametrize("query", [dense(100), words("word"), hybrid(100, "word")])
async def test_a_version_that_comes_to_count_during_a_search_is_not_seen_in_part(
    store: Store, other: Store, query: SearchQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages, "_BATCH_BYTES", 1)
    await fill(store, "t", "c", [document("d", ["word old"] * 3)])
    writer = stop(store, "insert", when=lambda table, _: table != CATALOG, after=True)
    reader = stop(other, "rank", after=True)
    new = document("d", ["word new"] * 4, seed=1)
    writing = asyncio.create_task(store.put_document("t", "c", SPACE, "", new))
    await writer.reached.wait()  # one passage of four is there
    searching = asyncio.create_task(other.search("t", "c", query))
    await reader.reached.wait()
    writer.go_on.set()
    await writing
    reader.go_on.set()
    assert sorted(hit.text for hit in await searching) == ["word new"] * 4


async def test_of_two_writers_the_one_that_has_lost_clears_away_its_own(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document("d", ["word old"])])
    loser = stop(store, "delete", when=lambda table, _: table == CATALOG)  # noted still
    losing = asyncio.create_task(fill(store, "t", "c", [document("d", ["word lost"] * 3)]))
    await loser.reached.wait()
    await fill(other, "t", "c", [document("d", ["word won"] * 2)])
    assert (await rows(store)).chunks == 3 + 2
    loser.go_on.set()
    await losing
    assert [hit.text for hit in await store.search("t", "c", words("word"))] == ["word won"] * 2
    assert await rows(store) == Rows(1, 2, 0)


async def test_of_two_writers_the_one_that_has_won_clears_away_the_other(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document("d", ["word old"])])
    winner = stop(store, "upsert", when=to_documents)
    winning = asyncio.create_task(fill(store, "t", "c", [document("d", ["word won"] * 2)]))
    await winner.reached.wait()
    await fill(other, "t", "c", [document("d", ["word lost"] * 3)])
    winner.go_on.set()
    await winning
    assert [hit.text for hit in await other.search("t", "c", words("word"))] == ["word won"] * 2
    assert await rows(store) == Rows(1, 2, 0)


async def test_a_writer_that_a_promotion_overtakes_begins_anew(store: Store, other: Store) -> None:
    await fill(store, "t", "c", [document("a")])
    await fill_next(store, "t", "c", [document("a")])
    writer = stop(store, "upsert", when=to_documents)
    writing = asyncio.create_task(fill(store, "t", "c", [document("b")]))
    await writer.reached.wait()
    assert await other.promote_collection("t", "c")
    writer.go_on.set()
    with pytest.raises(SpaceMismatchError) as raised:
        await writing
    assert (raised.value.expected, raised.value.actual) == (NEXT, SPACE)
    # What it has written into the old collection is gone with that.
    assert await rows(store) == Rows(1, 0, 0)
    assert (await rows(store, NEXT.dimensions)).chunks == 1


async def test_a_removal_that_a_promotion_overtakes_is_done_on_the_new_collection(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document("a"), document("b")])
    await fill_next(store, "t", "c", [document("a"), document("b")])
    removal = stop(store, "delete", when=to_documents)
    removing = asyncio.create_task(store.delete_documents("t", "c", ["a"]))
    await removal.reached.wait()
    assert await other.promote_collection("t", "c")
    removal.go_on.set()
    assert await removing == ["a"]
    listed, _ = await other.list_documents("t", "c", 10)
    assert [each.document_id for each in listed] == ["b"]


async def test_a_write_waits_while_its_collection_is_held(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = asyncio.Event()
    monkeypatch.setattr(asyncio, "sleep", _noted(asyncio.sleep, looked_up))
    await fill(store, "t", "c", [document("a")])
    await fill_next(store, "t", "c", [document("a")])
    promotion = stop(other, "query", when=to_documents)  # about to compare
    promoting = asyncio.create_task(other.promote_collection("t", "c"))
    await promotion.reached.wait()
    writing = asyncio.create_task(fill(store, "t", "c", [document("b")]))
    await asyncio.wait(
        [writing, asyncio.create_task(looked_up.wait())], return_when="FIRST_COMPLETED"
    )
    waits = not writing.done()
    promotion.go_on.set()
    assert await promoting
    assert waits
    with pytest.raises(SpaceMismatchError):
        await writing


async def test_a_write_acknowledged_before_the_comparison_prevents_a_promotion(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document("a")])
    await fill_next(store, "t", "c", [document("a")])
    promotion = stop(other, "upsert")  # about to hold
    promoting = asyncio.create_task(other.promote_collection("t", "c"))
    await promotion.reached.wait()
    await fill(store, "t", "c", [document("b")])
    promotion.go_on.set()
    assert not await promoting
    await fill(store, "t", "c", [document("c")])
    assert len(await store.search("t", "c", dense())) == 3


async def test_a_writer_whose_collection_is_deleted_leaves_nothing_behind(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document("a")])
    writer = stop(store, "upsert", when=to_documents)
    writing = asyncio.create_task(fill(store, "t", "c", [document("b")]))
    await writer.reached.wait()
    assert await other.delete_collection("t", "c")
    writer.go_on.set()
    await writing
    assert await store.get_collection("t", "c") is None
    assert await rows(store) == Rows(0, 0, 0)


async def test_a_writer_whose_collection_is_replaced_writes_into_the_new_one(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document("a")])
    writer = stop(store, "upsert", when=to_documents)
    writing = asyncio.create_task(fill(store, "t", "c", [document("b")]))
    await writer.reached.wait()
    await other.delete_collection("t", "c")
    await fill(other, "t", "c", [document("z")])
    writer.go_on.set()
    await writing
    listed, _ = await other.list_documents("t", "c", 10)
    assert [each.document_id for each in listed] == ["b", "z"]
    assert await rows(store) == Rows(2, 2, 0)


async def test_a_collection_that_goes_during_a_search_is_not_found_in_part(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document(name, ["word old"]) for name in "abc"])
    await other.search("t", "c", words("word"))
    await fill_next(store, "t", "c", [document(name, ["word new"]) for name in "abc"])
    reader = stop(other, "rank", after=True)
    searching = asyncio.create_task(other.search("t", "c", words("word")))
    await reader.reached.wait()
    assert await store.promote_collection("t", "c")
    reader.go_on.set()
    assert [hit.text for hit in await searching] == ["word new"] * 3


async def test_a_collection_that_goes_while_it_is_listed_is_not_listed_in_part(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document(name) for name in "abc"])
    await fill_next(store, "t", "c", [document(name) for name in "abc"])
    assert isinstance(store, MilvusStore)
    scope = await store._catalog.require("t", "c")
    reader = stop(other, "query", when=to_documents)
    clearing = stop(store, "delete", when=to_documents)
    listing = asyncio.create_task(other.list_documents("t", "c", 10))
    await reader.reached.wait()  # it knows what the name means
    promoting = asyncio.create_task(store.promote_collection("t", "c"))
    await clearing.reached.wait()  # the name means the next one
    first = any_of("id", [scope.generation + ordered_key("a")])
    await store._connection.delete(DOCUMENTS, first)
    reader.go_on.set()
    listed, _ = await listing
    clearing.go_on.set()
    assert await promoting
    assert [each.document_id for each in listed] == ["a", "b", "c"]


async def test_a_name_whose_last_meaning_is_remembered_is_looked_up_all_the_same(
    store: Store, other: Store
) -> None:
    await fill(store, "t", "c", [document("a", ["word old"])])
    assert await other.search("t", "c", dense())
    await store.delete_collection("t", "c")
    renewed = replace(SPACE, model="another")
    await store.put_document("t", "c", renewed, "", document("b", ["word new"]))
    for query in (dense(), replace(dense(), space=renewed)):
        assert [hit.text for hit in await other.search("t", "c", query)] == ["word new"]
    with pytest.raises(SpaceMismatchError) as raised:
        await other.search("t", "c", replace(dense(), space=SPACE))
    assert raised.value.expected == renewed
    await fill_next(store, "t", "c", [in_space(document("b", ["word next"]), SPACE)])
    assert await store.promote_collection("t", "c")
    small = dense(vector=dense().vector[: 4 * NEXT.dimensions])  # type: ignore[index]
    assert [hit.text for hit in await other.search("t", "c", small)] == ["word next"]
    assert await store.get_collection("t", staged("c")) is None


def _noted(
    sleep: Callable[[float], Awaitable[None]], event: asyncio.Event
) -> Callable[[float], Awaitable[None]]:
    async def noted(seconds: float) -> None:
        event.set()
        await sleep(seconds)

    return noted
