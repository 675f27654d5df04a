"""The contract of promotion: a collection built beside the one that serves takes its place."""

# ruff: noqa: D102 - these are tests, named by their claims

import asyncio
from dataclasses import replace

import pytest

from query.store.errors import CollectionNotFoundError, SpaceMismatchError
from query.store.model import Document, staged
from query.store.port import Store
from query.store.testing.corpus import DIMENSIONS, SPACE, document, fill, in_space, vector_of
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import dense, ids, words

NEXT = replace(SPACE, model="next", dimensions=DIMENSIONS // 2)
NEXT_QUERY = vector_of(9999)[: 4 * NEXT.dimensions]


async def fill_next(store: Store, tenant: str, name: str, documents: list[Document]) -> None:
    """Write the documents, embedded in the next space, beside the collection `name`."""
    for each in documents:
        await store.put_document(tenant, staged(name), NEXT, "new", in_space(each, NEXT))


class PromotionContract(Guarantees):
    """Before it, nobody sees the new collection; after it, nobody sees the old one."""

    async def test_the_staged_collection_takes_the_place_of_the_old(self, store: Store) -> None:
        old = [document(name, ["old one", "old two"]) for name in "abc"]
        await fill(store, "t", "c", old)
        await fill_next(store, "t", "c", [document(name, ["new"]) for name in "abc"])
        assert await store.promote_collection("t", "c")
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert (collection.name, collection.space, collection.endpoint) == ("c", NEXT, "new")
        assert (collection.document_count, collection.chunk_count) == (3, 3)
        assert sorted(ids(await store.search("t", "c", dense(100, NEXT_QUERY)))) == [
            "a#0", "b#0", "c#0",
        ]  # fmt: skip
        assert await store.search("t", "c", words("old")) == []
        assert len(await store.search("t", "c", words("new"))) == 3
        assert len(await store.get_chunks("t", "c", "a")) == 1
        assert await store.get_collection("t", staged("c")) is None
        assert [each.name for each in (await store.list_collections("t", 10))[0]] == ["c"]

    async def test_a_promoted_collection_is_pinned_to_its_new_space(self, store: Store) -> None:
        await fill(store, "t", "c", [document("a")])
        await fill_next(store, "t", "c", [document("a")])
        assert await store.promote_collection("t", "c")
        with pytest.raises(SpaceMismatchError) as raised:
            await fill(store, "t", "c", [document("b")])
        assert (raised.value.expected, raised.value.actual) == (NEXT, SPACE)
        await store.put_document("t", "c", NEXT, "", in_space(document("b"), NEXT))
        assert len(await store.search("t", "c", dense(10, NEXT_QUERY))) == 2

    async def test_a_staged_collection_is_in_no_list(self, store: Store) -> None:
        names = [*"abcd", "e" * 128]
        for name in names:
            await fill(store, "t", name, [document("d")])
            await fill_next(store, "t", name, [document("d")])
        await fill_next(store, "t", "staged alone", [document("d")])
        listed: list[str] = []
        token = ""
        while page := await store.list_collections("t", 2, token):
            assert len(page[0]) == 2 or not page[1]
            listed += [each.name for each in page[0]]
            if not (token := page[1]):
                break
        assert listed == names

    async def test_a_staged_collection_can_be_read_and_dropped(self, store: Store) -> None:
        await fill(store, "t", "c", [document("a")])
        await fill_next(store, "t", "c", [document("a"), document("b")])
        listed, _ = await store.list_documents("t", staged("c"), 10)
        assert [each.document_id for each in listed] == ["a", "b"]
        assert len(await store.search("t", staged("c"), dense(10, NEXT_QUERY))) == 2
        assert ids(await store.search("t", "c", dense())) == ["a#0"]
        assert await store.delete_collection("t", staged("c"))
        assert await store.get_collection("t", staged("c")) is None
        assert ids(await store.search("t", "c", dense())) == ["a#0"]

    @pytest.mark.parametrize(
        ("serving", "beside"),
        [
            ([("a", 1), ("b", 1)], [("a", 1)]),
            ([("a", 1)], [("a", 1), ("b", 1)]),
            ([("a", 1), ("b", 1)], [("a", 1), ("B", 1)]),
            ([("a", 1), ("b", 1)], [("a", 1), ("b", 2)]),
            ([("a", 1), ("b", 2)], [("a", 2), ("b", 1)]),
        ],
    )
    async def test_a_promotion_that_would_lose_a_write_is_refused(
        self, store: Store, serving: list[tuple[str, int]], beside: list[tuple[str, int]]
    ) -> None:
        await fill(store, "t", "c", [document(name, ["old"], seed=seed) for name, seed in serving])
        others = [document(name, ["new"], seed=seed) for name, seed in beside]
        await fill_next(store, "t", "c", others)
        assert not await store.promote_collection("t", "c")
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert (collection.space, collection.document_count) == (SPACE, len(serving))
        assert len(await store.search("t", "c", words("old"))) == len(serving)
        assert len(await store.search("t", staged("c"), words("new"))) == len(beside)

    async def test_a_refused_promotion_succeeds_once_the_difference_is_gone(
        self, store: Store
    ) -> None:
        await fill(store, "t", "c", [document("a", seed=1), document("b", seed=1)])
        await fill_next(store, "t", "c", [document("a", seed=1)])
        assert not await store.promote_collection("t", "c")
        await fill_next(store, "t", "c", [document("b", seed=1)])
        assert await store.promote_collection("t", "c")
        await fill_next(store, "t", "c", [document("a", seed=1), document("b", seed=1)])
        assert await store.promote_collection("t", "c")

    async def test_collections_without_documents_can_be_promoted(self, store: Store) -> None:
        await fill(store, "t", "c", [document("a")])
        await fill_next(store, "t", "c", [document("a")])
        for name in ("c", staged("c")):
            await store.delete_documents("t", name, ["a"])
        assert await store.promote_collection("t", "c")
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert (collection.space, collection.document_count) == (NEXT, 0)

    async def test_both_must_be_there_and_the_tenants_own(self, store: Store) -> None:
        await fill(store, "t", "old only", [document("a")])
        await fill_next(store, "t", "new only", [document("a")])
        await fill(store, "u", "new only", [document("a")])
        await fill_next(store, "u", "old only", [document("a")])
        for name in ("old only", "new only", "none"):
            with pytest.raises(CollectionNotFoundError):
                await store.promote_collection("t", name)
        assert await store.get_collection("t", staged("new only")) is not None

    async def test_a_promotion_touches_no_other_collection(self, store: Store) -> None:
        for tenant, name in (("t", "c"), ("t", "c2"), ("u", "c")):
            await fill(store, tenant, name, [document("a", [f"old {tenant} {name}"])])
            await fill_next(store, tenant, name, [document("a", [f"new {tenant} {name}"])])
        assert await store.promote_collection("t", "c")
        for tenant, name in (("t", "c2"), ("u", "c")):
            assert [hit.text for hit in await store.search(tenant, name, dense())] == [
                f"old {tenant} {name}"
            ]
            beside = await store.search(tenant, staged(name), dense(10, NEXT_QUERY))
            assert [hit.text for hit in beside] == [f"new {tenant} {name}"]

    async def test_a_search_meanwhile_sees_the_old_or_the_new_and_never_both(
        self, store: Store, second: Store
    ) -> None:
        await fill(store, "t", "c", [document(name, ["word old"] * 3) for name in "abcd"])
        await fill_next(store, "t", "c", [document(name, ["word new"] * 2) for name in "abcd"])
        seen: list[tuple[int, set[str]]] = []
        done = asyncio.Event()

        async def watch(one: Store) -> None:
            while not done.is_set():
                hits = await one.search("t", "c", words("word"))
                seen.append((len(hits), {hit.text for hit in hits}))

        watching = [asyncio.create_task(watch(one)) for one in (store, second)]
        try:
            assert await store.promote_collection("t", "c")
            for one in (store, second):
                hits = await one.search("t", "c", words("word"))
                assert {hit.text for hit in hits} == {"word new"}
        finally:
            done.set()
            await asyncio.gather(*watching)
        assert all(each in ((12, {"word old"}), (8, {"word new"})) for each in seen)
