"""The contract of search: three ways, each against brute force."""

# ruff: noqa: D102 - these are tests, named by their claims

from dataclasses import replace

import pytest

from query.store.model import Filter
from query.store.port import Store
from query.store.testing.corpus import QUERY, BruteForce, corpus, document, fill, rising
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import (
    FILTERS,
    TEXT,
    TEXT_WORDS,
    dense,
    hybrid,
    ids,
    words,
)


class SearchContract(Guarantees):
    """The three searches against brute force, with filters and ties."""

    async def test_dense_search_is_exact(self, store: Store) -> None:
        await fill(store, "t", "c", corpus())
        expected = list(BruteForce(corpus()).cosines(QUERY).items())[:10]
        hits = await store.search("t", "c", dense())
        assert ids(hits) == [key for key, _ in expected]
        assert [hit.score for hit in hits] == pytest.approx([s for _, s in expected], abs=1e-5)
        assert [hit.dense_score for hit in hits] == [hit.score for hit in hits]

    async def test_a_hit_says_where_its_text_stands(self, store: Store) -> None:
        await fill(store, "t", "c", [document("d", ["one", "two"], {"k": "v"})])
        (hit,) = await store.search("t", "c", words("two"))
        assert (hit.chunk_id, hit.document_id, hit.title) == ("d#1", "d", "A title")
        assert (hit.text, hit.section, hit.position) == ("two", "section 1", 1)
        assert (hit.start, hit.end, hit.metadata) == (10, 13, {"k": "v"})
        assert hit.dense_score is None

    async def test_full_text_finds_every_chunk_with_any_word(self, store: Store) -> None:
        await fill(store, "t", "c", corpus())
        hits = await store.search("t", "c", words(TEXT))
        assert set(ids(hits)) == BruteForce(corpus()).containing(*TEXT_WORDS)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) > 0

    async def test_a_rare_word_outweighs_a_common_one(self, store: Store) -> None:
        texts = [*["bridge lantern"] * 9, "harbour lantern"]
        await fill(store, "t", "c", [document("d", texts)])
        assert ids(await store.search("t", "c", words("bridge harbour")))[0] == "d#9"

    async def test_hybrid_search_fuses_both_rankings(self, store: Store) -> None:
        await fill(store, "t", "c", [rising(40)])
        by_text = ids(await store.search("t", "c", words("viento")))
        assert by_text == [f"d#{n}" for n in range(39, -1, -1)]
        expected = BruteForce([rising(40)]).fused(QUERY, by_text, 20)
        hits = await store.search("t", "c", hybrid(20, "viento"))
        self.assert_ranked(hits, expected, 20)
        assert [hit.score for hit in hits] == pytest.approx([*expected.values()][:20])
        cosines = BruteForce([rising(40)]).cosines(QUERY)
        for hit in hits:
            assert hit.dense_score == pytest.approx(cosines[hit.chunk_id], abs=1e-5)

    async def test_hybrid_search_fuses_rankings_with_ties(self, store: Store) -> None:
        if not self.exact_ties:
            pytest.skip("which of two equals ranks higher is open, and so is what is fused")
        await fill(store, "t", "c", corpus())
        by_text = ids(await store.search("t", "c", words(TEXT)))
        expected = BruteForce(corpus()).fused(QUERY, by_text, 20)
        assert ids(await store.search("t", "c", hybrid(20))) == [*expected][:20]

    async def test_what_only_one_ranking_holds_is_found(self, store: Store) -> None:
        texts = ["nothing", "viento", "else"]
        await fill(store, "t", "c", [document("d", texts)])
        hits = await store.search("t", "c", hybrid(10, "viento"))
        assert sorted(ids(hits)) == ["d#0", "d#1", "d#2"]
        assert ids(hits)[0] == "d#1"

    async def test_full_text_hits_have_a_dense_score_where_a_vector_is_given(
        self, store: Store
    ) -> None:
        await fill(store, "t", "c", corpus())
        cosines = BruteForce(corpus()).cosines(QUERY)
        for hit in await store.search("t", "c", replace(words(TEXT), vector=QUERY)):
            assert hit.dense_score == pytest.approx(cosines[hit.chunk_id], abs=1e-5)

    async def test_filtered_search_is_exact(self, store: Store) -> None:
        for tenant, collection in (("t", "c"), ("u", "c"), ("t", "other")):
            await fill(store, tenant, collection, corpus())
        for only, keep in FILTERS:
            kept = BruteForce(corpus()).kept(keep)
            expected = list(kept.cosines(QUERY))
            hits = await store.search("t", "c", dense(1000, restriction=only))
            assert ids(hits) == expected, only
            assert ids(await store.search("t", "c", dense(3, restriction=only))) == expected[:3]
            by_text = await store.search("t", "c", words(TEXT, restriction=only))
            assert set(ids(by_text)) == kept.containing(*TEXT_WORDS), only
            fused = await store.search("t", "c", hybrid(1000, restriction=only))
            assert set(ids(fused)) == set(expected), only

    async def test_ties_are_broken_by_chunk_id_in_every_mode(self, store: Store) -> None:
        names = [f"{n:02}" for n in range(40)]
        for name in reversed(names):
            await fill(store, "t", "c", [document(name, [TEXT], seed=3)])
        for query in (dense(5), words(TEXT, 5), hybrid(5)):
            found = ids(await store.search("t", "c", query))
            assert len(set(found)) == 5
            if self.exact_ties:
                assert found == [f"{n}#0" for n in names[:5]]

    async def test_equal_fused_scores_are_ordered_by_dense_score(self, store: Store) -> None:
        near, far = document("z", ["viento piedra"]), document("a", ["viento viento"])
        chunk = replace(near.chunks[0], vector=QUERY)
        await fill(store, "t", "c", [replace(near, chunks=[chunk]), far])
        assert ids(await store.search("t", "c", words("viento"))) == ["a#0", "z#0"]
        hits = await store.search("t", "c", hybrid(10, "viento"))
        self.assert_ranked(hits, {"z#0": 1 / 61 + 1 / 62, "a#0": 1 / 61 + 1 / 62}, 10)
        assert [hit.score for hit in hits] == pytest.approx([1 / 61 + 1 / 62] * 2)

    async def test_opposite_vectors_score_minus_one(self, store: Store) -> None:
        away = document("d")
        opposite = bytes(byte ^ (0x80 if n % 4 == 3 else 0) for n, byte in enumerate(QUERY))
        chunk = replace(away.chunks[0], vector=opposite)
        await fill(store, "t", "c", [replace(away, chunks=[chunk])])
        (hit,) = await store.search("t", "c", dense())
        assert hit.score == pytest.approx(-1.0, abs=1e-6)
        assert hit.score >= -1.0

    @pytest.mark.parametrize("vector", [bytes(64), b"\x00\x00\xc0\x7f" * 16, b"", QUERY[:-4]])
    async def test_a_query_vector_without_a_meaning_is_refused(
        self, store: Store, vector: bytes
    ) -> None:
        await fill(store, "t", "c", [document("d")])
        with pytest.raises(ValueError, match="vector"):
            await store.search("t", "c", dense(vector=vector))

    async def test_ids_of_the_greatest_length_work(self, store: Store) -> None:
        long = "ñ文📚x" * 128
        await fill(store, "t", "n" * 128, [document(long)])
        assert await store.get_document("t", "n" * 128, long) is not None
        only = Filter(frozenset({long}))
        hits = await store.search("t", "n" * 128, dense(restriction=only))
        assert [hit.document_id for hit in hits] == [long]
        with pytest.raises(ValueError, match="128"):
            await fill(store, "t", "n" * 129, [document("d")])
