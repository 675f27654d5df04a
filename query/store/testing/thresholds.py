"""The contract of what a query can ask beyond words and direction: threshold, space, vectors."""

# ruff: noqa: D102 - these are tests, named by their claims

from dataclasses import replace

import numpy as np
import pytest

from config_core.model_configuration import ModelProvider
from query.store.errors import SpaceMismatchError
from query.store.fusion import fuse
from query.store.model import SearchQuery
from query.store.port import Store
from query.store.testing.corpus import (
    DIMENSIONS,
    QUERY,
    SPACE,
    BruteForce,
    corpus,
    document,
    fill,
    rising,
    unit,
)
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import FILTERS, TEXT, dense, hybrid, ids, words

EVERY_MODE = (dense(1000), replace(words(TEXT), vector=QUERY), hybrid(1000))


class ThresholdContract(Guarantees):
    """The threshold chooses what is ranked; it never thins out what was ranked."""

    @pytest.mark.parametrize("passing", [0, 1, 7, 40])
    async def test_dense_search_finds_exactly_what_passes(self, store: Store, passing: int) -> None:
        await fill(store, "t", "c", corpus(20))
        cosines = BruteForce(corpus(20)).cosines(QUERY)
        threshold = _behind(list(cosines.values()), passing)
        hits = await store.search("t", "c", replace(dense(1000), threshold=threshold))
        assert ids(hits) == list(cosines)[:passing]
        hits = await store.search("t", "c", replace(dense(5), threshold=threshold))
        assert ids(hits) == list(cosines)[: min(5, passing)]

    async def test_full_text_is_filled_with_what_passes_however_deep_it_ranks(
        self, store: Store
    ) -> None:
        await fill(store, "t", "c", [rising(200)])
        # The text rises with the position, the cosine falls.
        query = replace(words("viento", 3), vector=QUERY, threshold=0.94)
        assert ids(await store.search("t", "c", query)) == ["d#9", "d#8", "d#7"]
        query = replace(query, top_k=1000)
        assert ids(await store.search("t", "c", query)) == [f"d#{n}" for n in range(9, -1, -1)]

    async def test_hybrid_search_ranks_only_what_passes(self, store: Store) -> None:
        await fill(store, "t", "c", [rising(200)])
        passing = [f"d#{n}" for n in range(10)]
        fused = fuse(passing, passing[::-1])
        expected = dict(sorted(fused.items(), key=lambda item: (-item[1], item[0])))
        hits = await store.search("t", "c", replace(hybrid(4, "viento"), threshold=0.94))
        self.assert_ranked(hits, expected, 4)
        assert [hit.score for hit in hits] == pytest.approx(list(expected.values())[:4])

    async def test_a_threshold_and_a_filter_hold_together(self, store: Store) -> None:
        await fill(store, "t", "c", corpus())
        for only, keep in FILTERS:
            passing = {
                key
                for key, cosine in BruteForce(corpus()).kept(keep).cosines(QUERY).items()
                if cosine >= 0.1
            }
            for query in (dense(1000), replace(words(TEXT), vector=QUERY), hybrid(1000)):
                found = await store.search("t", "c", replace(query, filter=only, threshold=0.1))
                whole = await store.search("t", "c", replace(query, filter=only))
                assert set(ids(found)) == set(ids(whole)) & passing, only

    @pytest.mark.parametrize("query", EVERY_MODE)
    async def test_a_threshold_that_all_pass_changes_nothing(
        self, store: Store, query: SearchQuery
    ) -> None:
        await fill(store, "t", "c", corpus(20))
        whole = {hit.chunk_id: hit.score for hit in await store.search("t", "c", query)}
        hits = await store.search("t", "c", replace(query, threshold=-1.0))
        assert {hit.chunk_id: hit.score for hit in hits} == pytest.approx(whole)

    @pytest.mark.parametrize("query", EVERY_MODE)
    async def test_a_threshold_that_none_passes_finds_nothing(
        self, store: Store, query: SearchQuery
    ) -> None:
        await fill(store, "t", "c", corpus(20))
        assert await store.search("t", "c", replace(query, threshold=0.9999)) == []

    @pytest.mark.parametrize("query", EVERY_MODE)
    async def test_a_query_of_another_space_is_refused(
        self, store: Store, query: SearchQuery
    ) -> None:
        await fill(store, "t", "c", corpus(8))
        assert await store.search("t", "c", replace(query, space=SPACE))
        for other in (
            replace(SPACE, provider=ModelProvider.MISTRAL),
            replace(SPACE, model="another"),
            replace(SPACE, dimensions=8),
            replace(SPACE, prefix=""),
            replace(SPACE, endpoint_space="elsewhere"),
        ):
            with pytest.raises(SpaceMismatchError) as raised:
                await store.search("t", "c", replace(query, space=other))
            assert (raised.value.expected, raised.value.actual) == (SPACE, other)

    @pytest.mark.parametrize("query", [*EVERY_MODE, words(TEXT)])
    async def test_hits_carry_their_vectors_where_they_are_asked_for(
        self, store: Store, query: SearchQuery
    ) -> None:
        await fill(store, "t", "c", corpus(20))
        vectors = {each.chunk_id: unit(each.vector) for each in BruteForce(corpus(20)).chunks}
        hits = await store.search("t", "c", replace(query, with_vectors=True))
        assert hits
        for hit in hits:
            assert hit.vector is not None
            assert len(hit.vector) == 4 * DIMENSIONS
            found = np.frombuffer(hit.vector, "<f4")
            assert found == pytest.approx(vectors[hit.chunk_id], abs=1e-6)
        assert all(hit.vector is None for hit in await store.search("t", "c", query))

    async def test_a_threshold_is_compared_with_the_score_that_is_shown(self, store: Store) -> None:
        await fill(store, "t", "c", [document("d", ["text"] * 50)])
        hits = await store.search("t", "c", dense(50))
        for place in (0, 20, 49):
            query = replace(dense(50), threshold=hits[place].score)
            assert ids(await store.search("t", "c", query)) == ids(hits[: place + 1])


def _behind(scores: list[float], count: int) -> float:
    """A threshold in the middle between the score of place `count` and the next."""
    if count == 0:
        return (1 + scores[0]) / 2
    return (scores[count - 1] + scores[count]) / 2
