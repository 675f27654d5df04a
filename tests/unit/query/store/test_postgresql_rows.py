"""What PostgreSQL keeps and compares: any text, exact numbers, counts, and conflicts of writers."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.store import (
    Equals,
    Filter,
    MetadataValue,
    OneOf,
    Range,
    Store,
    StoreUnavailableError,
    open_store,
)
from query.store.postgresql import PostgresqlStore
from query.store.postgresql.connection import Connection
from query.store.postgresql.texts import original, stored
from query.store.testing import SPACE, corpus, dense, document, fill, ids, words

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\1\2"))


@pytest.fixture
async def store(postgresql_url: str) -> AsyncIterator[Store]:
    async with open_store(postgresql_url) as opened:
        yield opened


@given(TEXTS)
def test_any_text_comes_back_from_what_is_stored_and_that_holds_no_nul(text: str) -> None:
    assert original(stored(text)) == text
    assert "\0" not in stored(text)


@given(TEXTS, TEXTS)
def test_stored_texts_are_ordered_as_their_originals(one: str, other: str) -> None:
    assert (stored(one) < stored(other)) == (one < other)


async def test_half_a_surrogate_pair_is_refused_and_nothing_written(store: Store) -> None:
    for broken in (
        document("\ud800"),
        document("d", ["\ud800"]),
        document("d", metadata={"k": "\ud800"}),
        replace(document("d"), title="\ud800"),
    ):
        with pytest.raises(ValueError, match="surrogate"):
            await fill(store, "t", "c", [broken])
    assert await store.get_collection("t", "c") is None


async def test_numbers_compare_exactly_whatever_their_type(store: Store) -> None:
    values: dict[str, MetadataValue] = {
        "big": 2**53 + 1,
        "float": float(2**53),
        "huge": 2**63 - 1,
        "tiny": 5e-324,
        "tenth": 0.1,
        "zero": -0.0,
        "most": 1.7976931348623157e308,
    }
    for name, value in values.items():
        await fill(store, "t", "c", [document(name, metadata={"n": value})])

    async def found(condition: Equals | OneOf | Range) -> set[str]:
        hits = await store.search("t", "c", dense(restriction=Filter(None, (condition,))))
        return {hit.document_id for hit in hits}

    assert await found(Equals("n", 2**53)) == {"float"}
    assert await found(Equals("n", 2**53 + 1)) == {"big"}
    assert await found(Equals("n", float(2**63))) == set()
    assert await found(Range("n", gt=2**53, lt=float(2**63))) == {"big", "huge"}
    assert await found(Range("n", gt=0, lt=0.1)) == {"tiny"}
    assert await found(Equals("n", 0)) == {"zero"}
    assert await found(OneOf("n", (0.1, 1e-320))) == {"tenth"}
    assert await found(Range("n", gte=1e308)) == {"most"}


async def test_keys_values_and_chunk_ids_of_any_length_are_kept_and_found(store: Store) -> None:
    long = "".join(random.Random(1).choices("añ文📚\0\1x", k=20_000))  # noqa: S311
    single = document("d", metadata={long: long})
    chunk = replace(single.chunks[0], chunk_id=long, section=long, text=long)
    written = replace(single, title=long, source=long, content_hash=long, chunks=[chunk])
    await fill(store, "t", "c", [written, document("e", metadata={long: long[1:]})])
    (hit,) = await store.search("t", "c", dense(restriction=Filter(None, (Equals(long, long),))))
    assert (hit.chunk_id, hit.title, hit.text, hit.section) == (long,) * 4
    assert hit.metadata == {long: long}
    thief = replace(document("f"), chunks=[chunk])
    with pytest.raises(ValueError, match="another document"):
        await fill(store, "t", "c", [thief])


async def test_a_document_of_very_many_chunks_is_kept_and_replaced(store: Store) -> None:
    texts = ["common " + f"word{n}" for n in range(1000)]
    for size in (1000, 3):
        await fill(store, "t", "c", [document("d", texts[:size])])
        assert len(await store.search("t", "c", words("common"))) == size
        assert ids(await store.search("t", "c", words(f"word{size - 1}"))) == [f"d#{size - 1}"]
    assert await store.search("t", "c", words("word3")) == []


async def test_a_document_without_chunks_is_one(store: Store) -> None:
    await fill(store, "t", "c", [document("d", [], {"k": 1})])
    assert await store.search("t", "c", words("a")) == []
    assert await store.search("t", "c", dense()) == []
    found = await store.get_document("t", "c", "d")
    assert found is not None
    assert found.chunk_count == 0


async def test_numbers_out_of_bounds_are_refused(store: Store) -> None:
    single = document("d")
    chunk = replace(single.chunks[0], start=2**64)
    with pytest.raises(ValueError, match="too large"):
        await fill(store, "t", "c", [replace(single, chunks=[chunk])])


async def test_counts_stay_right_under_writers_in_many_connections(
    store: Store, postgresql_url: str
) -> None:
    async with open_store(postgresql_url) as second:
        both = (store, second)
        draw = random.Random(3)  # noqa: S311 # the same changes every time

        async def change(one: Store, name: str, size: int) -> None:
            if size:
                await fill(one, "t", "c", [document(name, ["word"] * size)])
            else:
                await one.delete_documents("t", "c", [name])

        await fill(store, "t", "c", [document("first")])
        for _ in range(10):
            await asyncio.gather(
                *(
                    change(both[n % 2], f"d{draw.randrange(6)}", draw.randrange(4))
                    for n in range(12)
                )
            )
        listed, _ = await store.list_documents("t", "c", 1000)
        collection = await store.get_collection("t", "c")
    assert collection is not None
    assert collection.document_count == len(listed)
    assert collection.chunk_count == sum(each.chunk_count for each in listed)


async def test_the_endpoint_and_the_time_of_the_last_change_are_kept(store: Store) -> None:
    await store.put_document("t", "c", SPACE, "one", document("d"))
    first = await store.get_collection("t", "c")
    await store.put_document("t", "c", SPACE, "two", document("d"))
    await store.put_document("t", "c", SPACE, "two", document("e"))
    second = await store.get_collection("t", "c")
    assert first is not None
    assert second is not None
    assert (first.endpoint, second.endpoint) == ("one", "two")
    assert first.created_at == second.created_at <= first.updated_at < second.updated_at


async def test_a_deadlock_is_cured_by_trying_again(store: Store) -> None:
    await fill(store, "t", "c", [document("a"), document("b")])
    assert isinstance(store, PostgresqlStore)
    database, _ = store._opened
    both = asyncio.Barrier(2)
    attempts = list[str]()

    async def lock_both(connection: Connection, first: str, second: str) -> None:
        lock = "SELECT FROM documents WHERE document_id = $1 FOR UPDATE"
        attempts.append(first)
        await connection.execute(lock, first)
        if len(attempts) <= 2:
            await both.wait()
        await connection.execute(lock, second)

    await asyncio.gather(
        database.write(lambda made: lock_both(made, "a", "b")),
        database.write(lambda made: lock_both(made, "b", "a")),
    )
    assert sorted(attempts) in (["a", "a", "b"], ["a", "b", "b"])


async def test_conflicts_without_end_are_reported(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(store, PostgresqlStore)
    database, _ = store._opened
    monkeypatch.setattr("query.store.postgresql.database._LONGEST_PAUSE_SECONDS", 0.0)
    attempts = list[int]()

    async def conflict(_: Connection) -> None:
        attempts.append(1)
        raise asyncpg.SerializationError("canary: the driver's own words")

    with pytest.raises(StoreUnavailableError, match="in the way too often") as raised:
        await database.write(conflict)
    assert len(attempts) == 6
    assert "canary" not in str(raised.value)


async def test_in_a_large_collection_a_common_word_counts_only_on_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["lantern harbour", "lantern bridge", "lantern river"]
    await fill(store, "t", "c", [document("d", texts)])
    monkeypatch.setattr("query.store.postgresql.full_text._COMMON_TERMS_COUNT_BELOW", 3)
    assert ids(await store.search("t", "c", words("lantern harbour"))) == ["d#0"]
    assert len(await store.search("t", "c", words("lantern"))) == 3


async def test_what_fails_in_a_job_is_undone_and_the_connection_stays_good(
    store: Store,
) -> None:
    await fill(store, "t", "c", corpus(4))
    thief = replace(document("x").chunks[0], chunk_id="doc-000#0")
    for _ in range(20):  # more often than there are connections
        with pytest.raises(ValueError, match="another document"):
            await fill(store, "t", "c", [replace(document("x"), chunks=[thief])])
    assert await store.get_document("t", "c", "x") is None
