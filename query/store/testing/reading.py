"""The contract of reading back: documents, their passages, and lists page by page."""

# ruff: noqa: D102 - these are tests, named by their claims

from dataclasses import replace

import pytest

from query.store.errors import CollectionNotFoundError, InvalidPageTokenError
from query.store.model import MetadataValue, StoredChunk
from query.store.port import Store
from query.store.testing.corpus import CRAFTED, SPACE, corpus, document, fill
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import dense


class ReadingContract(Guarantees):
    """What was written comes back as it was, whole and in order."""

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

    async def test_passages_come_back_in_order_as_they_were_written(self, store: Store) -> None:
        texts = ["one", "", "  ñ文📚\x00'\"\\ ", "four\n\n", *["more"] * 8]
        written = document("d", texts)
        shuffled = document("e", texts)
        await fill(
            store, "t", "c", [written, replace(shuffled, chunks=[*reversed(shuffled.chunks)])]
        )
        for original in (written, shuffled):
            assert await store.get_chunks("t", "c", original.document_id) == [
                StoredChunk(
                    each.chunk_id, each.position, each.text, each.start, each.end, each.section
                )
                for each in original.chunks
            ]

    @pytest.mark.parametrize(
        ("first", "last", "positions"),
        [
            (0, None, [0, 1, 2, 3, 4]),
            (0, 0, [0]),
            (1, 3, [1, 2, 3]),
            (3, None, [3, 4]),
            (4, 99, [4]),
            (-2, 1, [0, 1]),
            (5, None, []),
            (3, 2, []),
        ],
    )
    async def test_a_range_of_passages_holds_both_its_ends(
        self, store: Store, first: int, last: int | None, positions: list[int]
    ) -> None:
        await fill(store, "t", "c", [document("d", ["text"] * 5), document("e", ["text"] * 9)])
        chunks = await store.get_chunks("t", "c", "d", first, last)
        assert [each.chunk_id for each in chunks] == [f"d#{position}" for position in positions]

    async def test_passages_of_what_is_absent(self, store: Store) -> None:
        await fill(store, "t", "c", [document("d")])
        await fill(store, "u", "of u", [document("d")])
        assert await store.get_chunks("t", "c", "absent") == []
        with pytest.raises(CollectionNotFoundError):
            await store.get_chunks("t", "of u", "d")

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
        await fill(store, "t", "c", [document(name) for name in CRAFTED])
        for name in CRAFTED:
            await fill(store, "t", name, [document("d")])
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

    async def test_a_last_page_that_is_full_has_no_next(self, store: Store) -> None:
        await fill(store, "t", "c", [document(name) for name in "abcd"])
        first, token = await store.list_documents("t", "c", 2)
        last, end = await store.list_documents("t", "c", 2, token)
        assert [each.document_id for each in (*first, *last)] == [*"abcd"]
        assert end == ""

    async def test_a_page_continues_behind_a_row_that_is_gone(self, store: Store) -> None:
        await fill(store, "t", "c", [document(name) for name in "abcd"])
        _, token = await store.list_documents("t", "c", 2)
        await store.delete_documents("t", "c", ["b", "c"])
        rest, _ = await store.list_documents("t", "c", 2, token)
        assert [each.document_id for each in rest] == ["d"]

    async def test_a_foreign_page_token_is_refused(self, store: Store) -> None:
        await fill(store, "t", "c", corpus(3))
        _, token = await store.list_documents("t", "c", 1)
        for wrong in (token, "ñ", "%%", "YQ=="):
            with pytest.raises(InvalidPageTokenError):
                await store.list_collections("t", 1, wrong)

    @pytest.mark.parametrize("size", [0, -1, 1001])
    async def test_a_page_size_out_of_bounds_is_refused(self, store: Store, size: int) -> None:
        await fill(store, "t", "c", [document("d")])
        with pytest.raises(ValueError, match="page size"):
            await store.list_documents("t", "c", size)
        with pytest.raises(ValueError, match="page size"):
            await store.list_collections("t", size)
