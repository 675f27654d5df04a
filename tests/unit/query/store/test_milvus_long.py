"""What does not fit into one field of 65,535 bytes is there all the same, and goes as a whole."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from query.store import Equals, Filter, Store, open_store
from query.store.milvus import passages
from query.store.testing import SPACE, dense, document, fill, ids, words
from tests.servers.milvus_lite import MilvusLiteServer
from tests.unit.query.store.milvus_rows import Rows, rows

MANY = [f"w{n}ñ" for n in range(20_000)]
LONG = " ".join(["first", "first", *MANY, "last", "last"])


@pytest.fixture
async def store(milvus_lite: MilvusLiteServer) -> AsyncIterator[Store]:
    async with open_store(milvus_lite.create_database()) as opened:
        yield opened


async def test_every_word_of_a_long_passage_is_found_and_the_passage_once(store: Store) -> None:
    once = " ".join(["first", *(f"other{n}" for n in range(9_000))])
    await fill(store, "t", "c", [document("d", [LONG, once]), document("e", ["other"])])
    for question in ("first", "first last", f"first last {MANY[10_000]}"):
        # Two and three rows of the one passage come before the other's.
        assert ids(await store.search("t", "c", words(question, 2))) == ["d#0", "d#1"]
    assert ids(await store.search("t", "c", words("last"))) == ["d#0"]
    (hit,) = await store.search("t", "c", words(MANY[15_000]))
    assert (hit.chunk_id, hit.text) == ("d#0", LONG)
    assert sorted(ids(await store.search("t", "c", dense(100)))) == ["d#0", "d#1", "e#0"]
    (chunk, _) = await store.get_chunks("t", "c", "d")
    assert chunk.text == LONG
    collection = await store.get_collection("t", "c")
    assert collection is not None
    assert (collection.document_count, collection.chunk_count) == (2, 3)


@pytest.mark.parametrize("texts", [["word"], []], ids=["passages", "none"])
async def test_a_long_title_source_and_metadata_come_back(store: Store, texts: list[str]) -> None:
    metadata = {"long": "文📚" * 40_000, "k": "v"}
    written = replace(document("d", texts, metadata), title="título " * 20_000, source="s" * 70_000)
    await fill(store, "t", "c", [written, document("e", ["word"], {"long": "short"})])
    found = await store.get_document("t", "c", "d")
    assert found is not None
    assert (found.title, found.source) == (written.title, written.source)
    assert found.metadata == metadata
    listed, _ = await store.list_documents("t", "c", 10)
    assert [each.document_id for each in listed] == ["d", "e"]
    only = Filter(None, (Equals("long", metadata["long"]),))
    hits = await store.search("t", "c", dense(restriction=only))
    assert [hit.metadata for hit in hits] == [metadata] * len(texts)
    assert len(await store.get_chunks("t", "c", "d")) == len(texts)
    assert len(await store.search("t", "c", words("word"))) == 1 + len(texts)


async def test_a_long_document_leaves_no_row(store: Store) -> None:
    long = document("d", [LONG], {"k": "v" * 200_000})
    await fill(store, "t", "c", [long])
    assert (await rows(store)).chunks > 1 + 3
    await fill(store, "t", "c", [document("d")])
    assert await rows(store) == Rows(1, 1, 0)
    await fill(store, "t", "c", [long])
    await store.delete_documents("t", "c", ["d"])
    assert await rows(store) == Rows(0, 0, 0)


async def test_a_chunk_id_that_no_field_holds_is_refused(store: Store) -> None:
    plain = document("d")
    long = replace(plain, chunks=[replace(plain.chunks[0], chunk_id="ñ" * 40_000)])
    with pytest.raises(ValueError, match="65535 bytes"):
        await store.put_document("t", "c", SPACE, "", long)
    assert await store.get_collection("t", "c") is None


def test_rows_are_sent_in_messages_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "_BATCH_BYTES", 10_000)
    prepared = passages.prepare(document("d", ["text " * 100] * 50), 16, full_text=True)
    batches = list(passages.batches(prepared.rows))
    assert [row for batch in batches for row in batch] == prepared.rows
    assert len(batches) > 5
    large = passages.prepare(document("d", [LONG]), 16, full_text=True)
    assert all(len(batch) == 1 for batch in passages.batches(large.rows))
