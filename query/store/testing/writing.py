"""The contract of writing: documents and collections written, replaced, listed, deleted."""

# ruff: noqa: D102 - these are tests, named by their claims

import asyncio
from dataclasses import replace

import pytest

from config_core.model_configuration import ModelProvider
from query.store.errors import CollectionNotFoundError, InvalidPageTokenError, SpaceMismatchError
from query.store.model import Equals, Filter, MetadataValue
from query.store.port import Store
from query.store.testing.corpus import SPACE, BruteForce, corpus, document, fill
from query.store.testing.queries import dense, ids, words

CRAFTED = (
    "a", "a/b", "a\x1fb", "a\x00b", "A", "%", "_", "a%", "'", "''", '"', "' OR '1'='1", "a;--",
    "*", "1x", "ñandú", "n\u0303andu\u0301", "文書", "مستند", "📚" * 60, "x" * 128,
)  # fmt: skip


class WritingContract:
    """Nothing is lost, doubled, half there or seen by another tenant."""

    async def test_a_document_comes_back_as_it_was_written(self, store: Store) -> None:
        metadata: dict[str, MetadataValue] = {
            "text": "ñ\x00\"'",
            "whole": 3,
            "real": 3.0,
            "yes": True,
            "": -(2**63),
        }
        written = document("d", ["one", "two"], metadata)
        assert not await store.put_document("t", "c", SPACE, "", written)
        found = await store.get_document("t", "c", "d")
        assert found is not None
        assert (found.document_id, found.title, found.source) == ("d", "A title", "a/source.md")
        assert (found.content_hash, found.chunk_count) == ("h0", 2)
        assert {k: (type(v), v) for k, v in found.metadata.items()} == {
            k: (type(v), v) for k, v in metadata.items()
        }

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

    async def test_what_is_absent_is_reported(self, store: Store) -> None:
        assert await store.get_document("t", "c", "d") is None
        assert await store.list_collections("t", 10) == ([], "")
        with pytest.raises(CollectionNotFoundError):
            await store.search("t", "c", dense())
        with pytest.raises(CollectionNotFoundError):
            await store.delete_documents("t", "c", ["d"])
        with pytest.raises(CollectionNotFoundError):
            await store.list_documents("t", "c", 10)

    async def test_pages_show_everything_once_in_order(self, store: Store) -> None:
        for name in CRAFTED:
            await fill(store, "t", name, [document("d")])
            await fill(store, "t", "c", [document(name)])
        documents, collections, token = [], [], ""
        while page := await store.list_documents("t", "c", 4, token):
            documents += [each.document_id for each in page[0]]
            if not (token := page[1]):
                break
        while listed := await store.list_collections("t", 4, token):
            collections += [each.name for each in listed[0]]
            if not (token := listed[1]):
                break
        assert documents == sorted(CRAFTED)
        assert collections == sorted([*CRAFTED, "c"])

    async def test_a_foreign_page_token_is_refused(self, store: Store) -> None:
        await fill(store, "t", "c", corpus(3))
        _, token = await store.list_documents("t", "c", 1)
        for wrong in (token, "ñ", "%%", "YQ=="):
            with pytest.raises(InvalidPageTokenError):
                await store.list_collections("t", 1, wrong)

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

    async def test_tenants_never_meet(self, store: Store) -> None:
        for number, tenant in enumerate(CRAFTED):
            await fill(store, tenant, "c", [document("d", [f"shared own{number}"], seed=number)])
        await fill(store, "b", "of b alone", [document("d")])
        for number, tenant in enumerate(CRAFTED):
            for query in (dense(100), words("shared " + " ".join(f"own{n}" for n in range(30)))):
                hits = await store.search(tenant, "c", query)
                assert [hit.text for hit in hits] == [f"shared own{number}"]
            collections, _ = await store.list_collections(tenant, 10)
            assert [(each.name, each.document_count) for each in collections] == [("c", 1)]
            assert await store.get_collection(tenant, "of b alone") is None
        assert await store.delete_documents("a", "c", ["d"]) == ["d"]
        assert await store.delete_collection("A", "c")
        for tenant in set(CRAFTED) - {"a", "A"}:
            assert await store.get_document(tenant, "c", "d") is not None

    async def test_a_tenant_and_a_collection_do_not_run_together(self, store: Store) -> None:
        pairs = [("a", "b/c"), ("a/b", "c"), ("a", "b\x1fc"), ("a\x1fb", "c"), ("ab", "c")]
        for tenant, name in pairs:
            await fill(store, tenant, name, [document(f"{tenant}|{name}")])
        for tenant, name in pairs:
            listed, _ = await store.list_documents(tenant, name, 10)
            assert [each.document_id for each in listed] == [f"{tenant}|{name}"]

    async def test_writers_at_once_lose_and_double_nothing(
        self, store: Store, second: Store
    ) -> None:
        both = [store, second]
        documents = corpus(24)
        twice = [(both[n % 2], each) for n, each in enumerate([*documents, *reversed(documents)])]
        await asyncio.gather(*(fill(one, "t", "c", [each]) for one, each in twice))
        collection = await second.get_collection("t", "c")
        assert collection is not None
        chunks = sorted(each.chunk_id for each in BruteForce(documents).chunks)
        assert (collection.document_count, collection.chunk_count) == (24, len(chunks))
        assert sorted(ids(await store.search("t", "c", dense(1000)))) == chunks
