"""The contract of writing: documents and collections written, replaced, listed, deleted."""

# ruff: noqa: D102 - these are tests, named by their claims

from dataclasses import replace

import pytest

from config_core.model_configuration import ModelProvider
from query.store.errors import SpaceMismatchError
from query.store.model import Equals, Filter
from query.store.port import Store
from query.store.testing.corpus import SPACE, corpus, document, fill
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import dense, ids, words


class WritingContract(Guarantees):
    """Nothing is lost, doubled, half there or seen by another tenant."""

    async def test_a_replaced_document_leaves_nothing_behind(self, store: Store) -> None:
        first = document("d", ["old alpha", "old beta", "old gamma"], {"kind": "old"})
        await fill(store, "t", "c", [first])
        renewed = document("d", ["new delta"], {"kind": "new"}, seed=5)
        assert await store.put_document("t", "c", SPACE, "", renewed)
        assert ids(await store.search("t", "c", dense(50))) == ["d#0"]
        assert await store.search("t", "c", words("old alpha")) == []
        old = Filter(None, (Equals("kind", "old"),))
        assert await store.search("t", "c", dense(restriction=old)) == []
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert (collection.document_count, collection.chunk_count) == (1, 1)

    async def test_a_refused_document_changes_nothing(self, store: Store) -> None:
        await fill(store, "t", "c", [document("d", ["kept"]), document("e", ["other"])])
        thief = document("d", ["first", "second"])
        stolen = replace(thief.chunks[1], chunk_id="e#0")
        for broken in (stolen, replace(stolen, chunk_id="d#1", vector=bytes(64))):
            with pytest.raises(ValueError, match=r"chunk|vector"):
                await fill(store, "t", "c", [replace(thief, chunks=[thief.chunks[0], broken])])
        assert {hit.text for hit in await store.search("t", "c", dense())} == {"kept", "other"}

    async def test_deleted_documents_are_named_and_gone(self, store: Store) -> None:
        await fill(store, "t", "c", [document(name, [name], seed=1) for name in "abc"])
        assert await store.delete_documents("t", "c", ["c", "x", "a", "c"]) == ["c", "a"]
        assert ids(await store.search("t", "c", dense())) == ["b#0"]
        assert await store.search("t", "c", words("a c")) == []
        assert await store.get_document("t", "c", "a") is None

    async def test_a_deleted_collection_is_gone_and_may_be_pinned_anew(self, store: Store) -> None:
        await fill(store, "t", "c", corpus(5))
        assert await store.delete_collection("t", "c")
        assert not await store.delete_collection("t", "c")
        assert await store.get_collection("t", "c") is None
        other = replace(SPACE, model="another")
        await store.put_document("t", "c", other, "", document("d"))
        assert ids(await store.search("t", "c", dense(100))) == ["d#0"]

    async def test_a_collection_is_pinned_to_its_space(self, store: Store) -> None:
        await store.put_document("t", "c", SPACE, "mine", document("d"))
        for other in (
            replace(SPACE, provider=ModelProvider.MISTRAL),
            replace(SPACE, model="another"),
            replace(SPACE, dimensions=8),
            replace(SPACE, prefix=""),
            replace(SPACE, endpoint_space="elsewhere"),
        ):
            with pytest.raises(SpaceMismatchError) as raised:
                await store.put_document("t", "c", other, "theirs", document("e"))
            assert (raised.value.expected, raised.value.actual) == (SPACE, other)
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert (collection.space, collection.endpoint) == (SPACE, "mine")
        assert collection.document_count == 1
