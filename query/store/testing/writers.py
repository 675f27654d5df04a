"""The contract of writing at once: several tasks and several adapters on one store."""

# ruff: noqa: D102 - these are tests, named by their claims

import asyncio
from dataclasses import replace

from query.store.errors import SpaceMismatchError
from query.store.port import Store
from query.store.testing.corpus import SPACE, BruteForce, corpus, document, fill
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import dense, ids, words


class WritersContract(Guarantees):
    """Whoever else writes: nothing is lost, doubled or half there."""

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

    async def test_of_two_writers_of_one_document_one_wins_whole(
        self, store: Store, second: Store
    ) -> None:
        versions = [document("d", [f"word v{n}"] * (1 + n), seed=n) for n in range(8)]
        await asyncio.gather(
            *(fill((store, second)[n % 2], "t", "c", [each]) for n, each in enumerate(versions))
        )
        found = await store.get_document("t", "c", "d")
        assert found is not None
        winner = int(found.content_hash.removeprefix("h"))
        collection = await second.get_collection("t", "c")
        assert collection is not None
        counts = (collection.document_count, collection.chunk_count, found.chunk_count)
        assert counts == (1, 1 + winner, 1 + winner)
        for query in (dense(100), words("word")):
            hits = await second.search("t", "c", query)
            assert [hit.text for hit in hits] == [f"word v{winner}"] * (1 + winner)

    async def test_of_two_first_writers_in_different_spaces_one_pins(
        self, store: Store, second: Store
    ) -> None:
        other = replace(SPACE, model="another")
        results = await asyncio.gather(
            store.put_document("t", "c", SPACE, "", document("a")),
            second.put_document("t", "c", other, "", document("b")),
            return_exceptions=True,
        )
        (loser,) = [each for each in results if isinstance(each, BaseException)]
        assert isinstance(loser, SpaceMismatchError)
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert (collection.space, collection.document_count) == (loser.expected, 1)

    async def test_a_reader_sees_each_document_whole(self, store: Store, second: Store) -> None:
        await fill(store, "t", "c", [document("d", ["word v0"] * 3)])
        seen: list[list[str]] = []
        done = asyncio.Event()

        async def watch() -> None:
            while not done.is_set():
                hits = await second.search("t", "c", words("word"))
                seen.append([hit.text for hit in hits])

        watching = asyncio.create_task(watch())
        try:
            for n in range(1, 8):
                await fill(store, "t", "c", [document("d", [f"word v{n}"] * (3 + n % 2), seed=n)])
        finally:
            done.set()
            await watching
        whole = [[f"word v{n}"] * (3 + n % 2) for n in range(8)]
        assert seen
        assert all(each in whole for each in seen)

    async def test_a_deletion_and_a_write_at_once_leave_all_or_nothing(
        self, store: Store, second: Store
    ) -> None:
        await fill(store, "t", "c", [document("kept"), document("d", ["word"] * 4)])
        for _ in range(4):
            await asyncio.gather(
                store.put_document("t", "c", SPACE, "", document("d", ["word"] * 4)),
                second.delete_documents("t", "c", ["d"]),
            )
            found = await second.get_document("t", "c", "d")
            hits = await store.search("t", "c", words("word"))
            assert len(hits) == (4 if found else 0)
            collection = await store.get_collection("t", "c")
            assert collection is not None
            assert collection.chunk_count == 1 + len(hits)
