import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from config_core.errors import (
    BudgetSpentError,
    CascadaError,
    CollectionNotFoundError,
    EmbeddingSpaceMismatchError,
    PolicyViolationError,
    Reason,
    RemoteError,
)
from config_core.source import Source
from query.errors import StoreFailedError
from query.indexing import SourceDocument
from query.retrieval import Retrieval
from query.store import Equals, Filter, OneOf, Range, SearchMode, SearchQuery, Store
from service_core.deadline import Deadline
from service_core.request_context import RequestContext
from service_core.trace import HopReport
from tests.unit.config_core.support import asked
from tests.unit.query.world import E5, OTHER, OTHER_SPACE, TENANT, World, hop_of

SPAIN = "capital de España"
MODES = tuple(SearchMode)


async def test_the_passage_that_says_it_comes_first_in_each_mode(world: World) -> None:
    await world.fill()
    for mode in MODES:
        found = await world.search(SPAIN, mode=mode)
        assert found.passages[0].hit.document_id == "madrid", mode
        assert found.passages[0].collection == "cities"


async def test_the_query_is_embedded_once_as_a_query_in_the_collections_space(
    world: World,
) -> None:
    await world.fill()
    await world.search(SPAIN)
    assert world.embeddings.calls == [(E5, [SPAIN], True)]


async def test_full_text_alone_embeds_nothing_and_has_no_dense_score(world: World) -> None:
    await world.fill()
    found = await world.search(SPAIN, mode=SearchMode.FULL_TEXT)
    assert world.embeddings.calls == []
    assert found.passages[0].hit.dense_score is None


async def test_no_more_than_top_k_passages_come(world: World) -> None:
    await world.fill()
    assert [len((await world.search("capital", top_k=k)).passages) for k in (1, 3, 50)] == [1, 3, 4]


@pytest.mark.parametrize("mode", MODES)
async def test_a_threshold_drops_by_dense_score_in_each_mode(
    world: World, mode: SearchMode
) -> None:
    await world.fill()
    everything = (await world.search(SPAIN, mode=mode, similarity_threshold=-1.0)).passages
    scores = {each.hit.document_id: each.hit.dense_score or 0.0 for each in everything}
    assert len(scores) >= 3
    limit = sorted(scores.values())[-2]
    kept = (await world.search(SPAIN, mode=mode, similarity_threshold=limit)).passages
    expected = [
        each.hit.document_id for each in everything if scores[each.hit.document_id] >= limit
    ]
    assert [each.hit.document_id for each in kept] == expected
    assert len(expected) == 2


async def test_a_threshold_does_not_cost_places_that_others_can_take(world: World) -> None:
    # By its words "far" is the best, by its meaning it is not.
    filler = "uno dos tres cuatro cinco seis siete ocho"
    await world.index(
        [
            SourceDocument("far", "azul uno dos tres"),
            SourceDocument("near", "zafiro"),
            *(SourceDocument(f"d{n}", f"zafiro {n} {filler}") for n in range(5)),
        ]
    )
    options: dict[str, Any] = {"top_k": 1, "mode": SearchMode.FULL_TEXT}
    best = await world.search("zafiro azul", **options)
    assert [each.hit.document_id for each in best.passages] == ["far"]
    found = await world.search("zafiro azul", **options, similarity_threshold=0.6)
    assert [each.hit.document_id for each in found.passages] == ["near"]


async def test_nothing_over_the_threshold_is_an_empty_answer_with_its_hops(world: World) -> None:
    await world.fill()
    found = await world.search("zanahoria", similarity_threshold=0.99)
    assert found.passages == ()
    assert [hop_of(hop) for hop in found.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
    ]


@pytest.mark.parametrize(
    ("narrow", "expected"),
    [
        (Filter(document_ids=frozenset({"paris", "roma"})), {"paris", "roma"}),
        (Filter(conditions=(Equals("name", "berlin"),)), {"berlin"}),
        (Filter(conditions=(OneOf("name", ("berlin", "roma")),)), {"berlin", "roma"}),
        (Filter(frozenset({"paris"}), (Equals("name", "roma"),)), set()),
        (Filter(conditions=(Range("name", gte=0),)), set()),
    ],
)
@pytest.mark.parametrize("mode", MODES)
async def test_a_filter_narrows_each_mode(
    world: World, mode: SearchMode, narrow: Filter, expected: set[str]
) -> None:
    await world.fill()
    found = await world.search("capital is la", mode=mode, filter=narrow)
    assert {each.hit.document_id for each in found.passages} == expected


async def test_collections_in_different_spaces_are_each_searched_in_their_own(
    world: World,
) -> None:
    await world.fill("here")
    await world.fill("there", **OTHER)
    found = await world.search(SPAIN, "here", "there")
    assert {(space, tuple(texts)) for space, texts, _ in world.embeddings.calls} == {
        (E5, (SPAIN,)),
        (OTHER_SPACE, (SPAIN,)),
    }
    assert {each.collection for each in found.passages[:2]} == {"here", "there"}
    assert {each.hit.document_id for each in found.passages[:2]} == {"madrid"}


async def test_different_spaces_are_embedded_at_the_same_time(world: World) -> None:
    await world.fill("here")
    await world.fill("there", **OTHER)
    both = asyncio.Barrier(2)

    async def meet(_: Sequence[str]) -> None:
        await both.wait()

    world.embeddings.before = meet
    async with asyncio.timeout(10):
        await world.search(SPAIN, "here", "there")


async def test_each_space_has_one_report_that_names_its_collections(world: World) -> None:
    await world.fill("here")
    await world.fill("also")
    await world.fill("there", **OTHER)
    found = await world.search(SPAIN, "here", "there", "also")
    reports = [hop for hop in found.hops if isinstance(hop, HopReport)]
    assert [(hop.collections, hop.space) for hop in reports] == [
        (("here", "also"), E5),
        (("there",), OTHER_SPACE),
    ]
    assert len(found.hops) == 4
    assert len(world.embeddings.calls) == 2


async def test_the_space_comes_from_the_collection_in_the_trace(world: World) -> None:
    await world.fill(**OTHER)
    found = await world.search(SPAIN)
    report = found.hops[0]
    assert isinstance(report, HopReport)
    names = ("embedding_provider", "embedding_model", "embedding_dimensions")
    assert {report.effective.sources[name] for name in names} == {Source.COLLECTION}


async def test_several_lists_are_merged_by_rank_and_not_by_score(world: World) -> None:
    await world.index(
        [SourceDocument("a", "zafiro azul"), SourceDocument("b", "zafiro verde oscuro lento")],
        world.options("near"),
    )
    await world.index(
        [
            SourceDocument("c", "zafiro raro"),
            SourceDocument("d", "nada que ver"),
        ],
        world.options("far", **OTHER),
    )
    found = await world.search("zafiro azul", "near", "far", mode=SearchMode.DENSE)
    assert [each.hit.document_id[0] for each in found.passages[:2]] == ["a", "c"]
    ranks = {each.hit.document_id: each.hit.score for each in found.passages}
    assert ranks["a"] == ranks["c"] > ranks["b"] == ranks["d"]


async def test_top_k_holds_over_all_collections_together(world: World) -> None:
    await world.fill("here")
    await world.fill("there")
    assert len((await world.search(SPAIN, "here", "there", top_k=3)).passages) == 3


async def test_one_unknown_collection_fails_the_search_before_it_costs(world: World) -> None:
    await world.fill()
    with pytest.raises(CollectionNotFoundError) as caught:
        await world.search(SPAIN, "cities", "nowhere")
    assert caught.value.collection == "nowhere"
    assert world.embeddings.calls == []


@pytest.mark.parametrize(
    ("lives_in", "asked_for", "collection_space", "requested_space"),
    [
        ({}, OTHER, E5, "openai/tiny"),
        (OTHER, {"embedding_provider": "local"}, OTHER_SPACE, "local"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"mode": SearchMode.DENSE},
        {"mode": SearchMode.HYBRID},
        {"mode": SearchMode.FULL_TEXT, "similarity_threshold": 0.1},
    ],
)
async def test_another_space_in_the_request_is_refused_before_any_embedding(
    world: World,
    options: dict[str, Any],
    lives_in: dict[str, Any],
    asked_for: dict[str, Any],
    collection_space: object,
    requested_space: str,
) -> None:
    await world.fill(**lives_in)
    with pytest.raises(EmbeddingSpaceMismatchError) as caught:
        await world.search(SPAIN, values=asked_for, **options)
    facts = caught.value.metadata
    assert (facts["collection"], facts["collection_space"]) == ("cities", str(collection_space))
    assert facts["requested_space"].startswith(requested_space)
    assert world.embeddings.calls == []


async def test_words_alone_are_searched_in_whatever_space_the_collection_lives(
    world: World,
) -> None:
    await world.fill()
    found = await world.search(SPAIN, values=OTHER, mode=SearchMode.FULL_TEXT)
    assert found.passages[0].hit.document_id == "madrid"
    assert [hop_of(hop) for hop in found.hops] == [("query", "embedding")]


async def test_a_question_too_long_to_embed_is_called_a_question(world: World) -> None:
    await world.fill()

    async def refuse(_: Sequence[str]) -> None:
        raise RemoteError(Reason.CONTEXT_TOO_LONG, "texts[0]: it is too long.")

    world.embeddings.before = refuse
    with pytest.raises(RemoteError, match="The question is too long") as caught:
        await world.search(SPAIN)
    assert caught.value.code_reason is Reason.CONTEXT_TOO_LONG
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "embedding")]


async def test_the_request_must_match_every_collection(world: World) -> None:
    await world.fill("here")
    await world.fill("there", **OTHER)
    with pytest.raises(EmbeddingSpaceMismatchError) as caught:
        await world.search(SPAIN, "there", "here", values=OTHER)
    assert caught.value.collection == "here"


async def test_other_dimensions_of_the_same_model_are_another_space(world: World) -> None:
    await world.fill(**OTHER)
    with pytest.raises(EmbeddingSpaceMismatchError):
        await world.search(SPAIN, values={"embedding_dimensions": 16})
    assert world.embeddings.calls == []


@pytest.mark.parametrize(
    ("lives_in", "restated"),
    [
        ({}, {"embedding_provider": "local", "embedding_model": "multilingual-e5-small"}),
        ({}, {"embedding_dimensions": 384}),
        (OTHER, OTHER),
        (OTHER, {**OTHER, "embedding_dimensions": 32}),
        (OTHER, {"embedding_provider": "openai", "embedding_api_key": "sk-own", **OTHER}),
    ],
)
async def test_a_request_that_restates_the_space_is_answered(
    world: World, lives_in: dict[str, Any], restated: dict[str, Any]
) -> None:
    await world.fill(**lives_in)
    assert (await world.search(SPAIN, values=restated)).passages


async def test_a_tenants_own_embedding_model_yields_to_the_collections(world: World) -> None:
    await world.fill()
    world.configure(tenants={TENANT: {"model_configuration": OTHER}})
    await world.search(SPAIN)
    assert [space for space, _, _ in world.embeddings.calls] == [E5]


async def test_a_policy_that_forbids_the_collections_model_is_not_bypassed(world: World) -> None:
    await world.fill(**OTHER)
    world.configure(policy={"locks": {"embedding_provider": "local"}})
    with pytest.raises((PolicyViolationError, EmbeddingSpaceMismatchError)):
        await world.search(SPAIN)
    assert world.embeddings.calls == []


async def test_vectors_from_another_space_than_the_collections_are_not_compared(
    world: World,
) -> None:
    await world.fill()
    world.embeddings.answers_in = OTHER_SPACE
    with pytest.raises(EmbeddingSpaceMismatchError) as caught:
        await world.search(SPAIN)
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "embedding")]


async def test_a_failure_of_one_space_cancels_the_other_and_carries_its_hops(
    world: World,
) -> None:
    await world.fill("here")
    await world.fill("there", **OTHER)
    first = asyncio.Event()

    async def fail_second(_: Sequence[str]) -> None:
        if not first.is_set():
            first.set()
            await asyncio.Event().wait()
        raise RemoteError(Reason.UPSTREAM_FAILED, "It does not answer.")

    world.embeddings.before = fail_second
    with pytest.raises(RemoteError) as caught:
        await world.search(SPAIN, "here", "there")
    [report] = caught.value.hops
    assert isinstance(report, HopReport)
    assert report.collections == ("there",)
    assert (world.embeddings.running, world.embeddings.cancelled) == (0, 1)


class _BrokenSearch:
    """A store that does all but search."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def search(self, tenant: str, collection: str, query: SearchQuery) -> Any:
        await self._store.close()
        return await self._store.search(tenant, collection, query)


async def test_a_store_that_fails_after_the_embedding_carries_the_hops_so_far(
    world: World,
) -> None:
    await world.fill()
    world.retriever._store = _BrokenSearch(world.store)
    with pytest.raises(StoreFailedError) as caught:
        await world.search(SPAIN)
    assert [hop_of(hop) for hop in caught.value.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
    ]


async def test_a_budget_that_is_spent_ends_the_search_and_its_embedding(world: World) -> None:
    await world.fill()

    async def forever(_: Sequence[str]) -> None:
        await asyncio.Event().wait()

    world.embeddings.before = forever
    with pytest.raises(BudgetSpentError):
        await world.search(SPAIN, values={"timeout_seconds": 0.05})
    assert (world.embeddings.running, world.embeddings.cancelled) == (0, 1)


async def test_a_search_within_a_request_has_what_its_deadline_leaves(world: World) -> None:
    await world.fill()
    spent = Deadline.after(-1)
    with pytest.raises(CascadaError) as caught:
        await world.retriever.search(
            SPAIN,
            Retrieval(("cities",)),
            RequestContext(TENANT),
            asked(),
            world.snapshots.current,
            spent,
        )
    assert caught.value.code_reason is Reason.BUDGET_SPENT
    assert world.embeddings.calls == []
