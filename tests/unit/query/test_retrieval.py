import asyncio
from collections.abc import Sequence
from dataclasses import replace
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
    Violation,
)
from config_core.source import Source
from query.errors import StoreFailedError
from query.indexing import SourceDocument
from query.retrieval import Retrieval
from query.store import (
    Equals,
    Filter,
    OneOf,
    Range,
    SearchMode,
    SearchQuery,
    SpaceMismatchError,
    Store,
)
from service_core.deadline import Deadline
from service_core.request_context import RequestContext
from service_core.trace import HopReport
from tests.unit.config_core.support import asked
from tests.unit.query.world import CITIES, E5, OTHER, OTHER_SPACE, TENANT, World, hop_of

SPAIN = "capital de España"
MODES = tuple(SearchMode)
WORDS = ("perlas", "zafiros", "rubíes", "topacios", "granates")


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
    await world.index(
        [SourceDocument("españa", "La capital de España es Madrid.")],
        world.options("there", **OTHER),
    )
    world.embeddings.calls.clear()
    found = await world.search(SPAIN, "here", "there")
    assert {(space, tuple(texts)) for space, texts, _ in world.embeddings.calls} == {
        (E5, (SPAIN,)),
        (OTHER_SPACE, (SPAIN,)),
    }
    assert {each.collection for each in found.passages[:2]} == {"here", "there"}
    assert {each.hit.document_id for each in found.passages[:2]} == {"madrid", "españa"}


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
    await world.index([SourceDocument("soria", "Soria es una ciudad.")], world.options("there"))
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


TOO_LONG = (
    RemoteError(Reason.CONTEXT_TOO_LONG, "texts[0]: it is too long."),
    RemoteError(
        Reason.INVALID_ARGUMENT,
        "texts[0]: must have at most 100000 characters",
        metadata={"violations": "1"},
        violations=[Violation("texts[0]", "too long", Reason.INVALID_ARGUMENT)],
    ),
)


@pytest.mark.parametrize("error", TOO_LONG, ids=["model", "service"])
async def test_a_question_too_long_to_embed_is_called_a_question(
    error: RemoteError, world: World
) -> None:
    await world.fill()

    async def refuse(_: Sequence[str]) -> None:
        raise error

    world.embeddings.before = refuse
    with pytest.raises(RemoteError, match="The question is too long") as caught:
        await world.search(SPAIN)
    assert caught.value.code_reason is Reason.CONTEXT_TOO_LONG
    assert caught.value.metadata == {"provider": "local", "model": "multilingual-e5-small"}
    assert caught.value.violations == ()
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


async def test_a_threshold_is_the_stores_business_in_the_space_of_the_vector(world: World) -> None:
    await world.fill()
    queries = watch(world)
    await world.search(SPAIN, similarity_threshold=0.25)
    [query] = queries
    assert (query.threshold, query.space, query.top_k) == (0.25, E5, 5)
    assert query.vector is not None


async def test_the_same_text_comes_once_and_the_next_takes_its_place(world: World) -> None:
    copies = [SourceDocument(f"copy{n}", "zafiro azul") for n in range(30)]
    others = [SourceDocument(f"other{n}", f"zafiro verde {n}") for n in range(4)]
    await world.index([*copies, *others])
    for mode in MODES:
        found = await world.search("zafiro azul", mode=mode)
        assert len({each.hit.text for each in found.passages}) == 5, mode
        assert found.passages[0].hit.text == "zafiro azul", mode


async def test_the_search_for_others_than_copies_ends_with_the_collection(world: World) -> None:
    await world.index([SourceDocument(f"copy{n}", "zafiro azul") for n in range(30)])
    queries = watch(world)
    assert len((await world.search("zafiro azul")).passages) == 1
    assert [query.top_k for query in queries] == [5, 20, 80]


@pytest.mark.parametrize(("collections", "asked"), [(1, [40, 160, 640, 1000]), (8, [40, 160, 500])])
async def test_the_search_for_others_than_copies_has_a_limit(
    world: World, collections: int, asked: list[int]
) -> None:
    names = [f"c{number}" for number in range(collections)]
    for name in names:
        await world.index([SourceDocument("d", "zafiro")], world.options(name))
    [hit] = (await world.search("zafiro", "c0")).passages
    queries: list[SearchQuery] = []

    async def nothing_but_copies(_: str, __: str, query: SearchQuery) -> Any:
        queries.append(query)
        return [hit.hit] * query.top_k

    setattr(world.store, "search", nothing_but_copies)  # noqa: B010 # its arguments go by place
    assert len((await world.search("zafiro", *names, top_k=40)).passages) == 1
    assert [query.top_k for query in queries][::collections] == asked


async def test_a_copy_in_another_collection_is_a_copy(world: World) -> None:
    await world.fill("here")
    await world.fill("there", **OTHER)
    found = await world.search(SPAIN, "here", "there", top_k=8)
    assert sorted(each.hit.document_id for each in found.passages) == sorted(CITIES)


TWINS = [
    SourceDocument("twin", "zafiro azul claro brillante pulido"),
    SourceDocument("other-twin", "zafiro azul claro brillante opaco"),
    SourceDocument("fresh", "zafiro bajo una luna de invierno"),
]


async def test_passages_are_chosen_for_what_they_add_where_it_is_asked_for(world: World) -> None:
    await world.index(TWINS)
    for mode in MODES:
        options: dict[str, Any] = {"mode": mode, "top_k": 2}
        plain = (await world.search("zafiro azul claro brillante", **options)).passages
        assert {each.hit.document_id for each in plain} == {"twin", "other-twin"}, mode
        found = await world.search("zafiro azul claro brillante", **options, mmr_lambda=0.3)
        assert found.passages[0].hit.document_id == plain[0].hit.document_id, mode
        assert found.passages[1].hit.document_id == "fresh", mode


async def test_the_choice_is_made_among_four_times_as_many(world: World) -> None:
    await world.fill()
    queries = watch(world)
    asked: list[dict[str, Any]] = [{"mmr_lambda": 0.5}, {"mmr_lambda": 0.5, "top_k": 100}, {}]
    for options in asked:
        await world.search(SPAIN, **options)
    assert [(query.top_k, query.with_vectors) for query in queries] == [
        (20, True),
        (200, True),
        (5, False),
    ]


async def test_neighbours_are_joined_to_each_passage(world: World) -> None:
    sentences = [f"El capítulo {n} trata de {word}." for n, word in enumerate(WORDS)]
    await world.index(
        [SourceDocument("book", "\n\n".join(sentences))],
        replace(world.options(), chunk_tokens=16, overlap_sentences=0),
    )
    [alone] = (await world.search("rubíes", top_k=1)).passages
    assert alone.hit.text == sentences[2]
    [joined] = (await world.search("rubíes", top_k=1, neighbours=1)).passages
    assert joined.hit.text == "\n\n".join(sentences[1:4])
    assert joined.core == alone.hit
    document = "\n\n".join(sentences)
    assert document[joined.hit.start : joined.hit.end] == joined.hit.text


async def test_a_collection_that_was_embedded_anew_meanwhile_is_searched_in_its_new_space(
    world: World,
) -> None:
    await world.fill()
    await world.fill("new", **OTHER)
    moved = move_once(world, "cities", "new")
    found = await world.search(SPAIN)
    assert found.passages[0].hit.document_id == "madrid"
    assert [space for space, _, _ in world.embeddings.calls] == [E5, OTHER_SPACE]
    reports = [hop for hop in found.hops if isinstance(hop, HopReport)]
    assert [report.space for report in reports] == [E5, OTHER_SPACE]
    assert moved == [E5]


async def test_a_collection_that_never_stands_still_is_a_mismatch(world: World) -> None:
    await world.fill()
    await world.fill("new", **OTHER)
    move_once(world, "cities", "new", times=9)
    with pytest.raises(EmbeddingSpaceMismatchError):
        await world.search(SPAIN)
    assert len(world.embeddings.calls) == 2


async def test_a_request_that_names_the_old_space_is_refused_once_the_collection_has_moved(
    world: World,
) -> None:
    await world.fill()
    await world.fill("new", **OTHER)
    move_once(world, "cities", "new")
    with pytest.raises(EmbeddingSpaceMismatchError) as caught:
        await world.search(SPAIN, values={"embedding_provider": "local"})
    assert caught.value.metadata["collection_space"] == str(OTHER_SPACE)
    assert [hop_of(hop) for hop in caught.value.hops][:2] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
    ]


@pytest.mark.parametrize("name", ["get_collection", "search"])
async def test_only_so_many_calls_of_a_search_are_at_the_store_at_a_time(
    world: World, name: str
) -> None:
    names = [f"c{number}" for number in range(16)]
    for number, collection in enumerate(names):
        document = SourceDocument("d", f"zafiro {number}")
        await world.index([document], world.options(collection))
    running = most = 0
    call = getattr(world.store, name)

    async def counted(*arguments: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        try:
            return await call(*arguments)
        finally:
            running -= 1

    setattr(world.store, name, counted)
    assert (await world.search("zafiro", *names)).passages
    assert most == 8


def watch(world: World) -> list[SearchQuery]:
    """What the store is asked from now on."""
    queries: list[SearchQuery] = []
    search = world.store.search

    async def noting(tenant: str, collection: str, query: SearchQuery) -> Any:
        queries.append(query)
        return await search(tenant, collection, query)

    world.store.search = noting  # type: ignore[method-assign]
    return queries


def move_once(world: World, name: str, new: str, times: int = 1) -> list[object]:
    """Have a collection live where another one does, from its next search on.

    Gives the spaces in which it was searched in vain.
    """
    store = world.store
    get_collection, search = store.get_collection, store.search
    moved: list[object] = []

    async def lies_until_searched(tenant: str, name_asked: str) -> Any:
        there = name_asked == name and len(moved) % 2 == 1
        return await get_collection(tenant, new if there else name_asked)

    async def search_there(tenant: str, collection: str, query: SearchQuery) -> Any:
        if collection == name and len(moved) < times:
            moved.append(query.space)
            home = await get_collection(tenant, new if len(moved) % 2 else name)
            assert home is not None
            assert query.space is not None
            raise SpaceMismatchError(home.space, query.space)
        return await search(tenant, new if len(moved) % 2 else collection, query)

    setattr(store, "get_collection", lies_until_searched)  # noqa: B010 # its arguments go by place
    store.search = search_there  # type: ignore[method-assign]
    return moved


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


class _SlowLookup(_BrokenSearch):
    """A store that never finds a collection."""

    async def get_collection(self, _tenant: str, _name: str) -> Any:
        await asyncio.Event().wait()


async def test_a_search_ends_before_its_callers_deadline_while_its_collections_are_looked_up(
    world: World,
) -> None:
    world.spaces._store = _SlowLookup(world.store)
    searching = world.service.search(
        SPAIN, Retrieval(("cities",)), RequestContext(TENANT), asked(), time_remaining=0.2
    )
    with pytest.raises(BudgetSpentError):
        await asyncio.wait_for(searching, 20)


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
