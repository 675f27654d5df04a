import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any

import grpc
import pytest
from cascada.config.v1 import model_configuration_pb2, model_provider_pb2
from cascada.query.v1 import query_service_pb2 as pb

from config_core.errors import (
    CollectionNotFoundError,
    CredentialMissingError,
    EmbeddingSpaceMismatchError,
    Reason,
    RemoteError,
)
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from config_core.space import EmbeddingSpace
from query.embedding_batches import CallLimits
from query.indexing import DocumentOutcome, SourceDocument
from query.reindexing import ReindexOptions, ReindexProgress, ReindexSummary
from query.staging import Staging
from query.store import SearchMode, staged
from service_core.request_context import RequestContext
from service_core.status import from_status
from service_core.trace import HopReport, RemoteHop
from service_core.usage import Usage
from tests.unit.config_core.support import asked
from tests.unit.query.world import (
    CITIES,
    E5,
    OTHER,
    OTHER_SPACE,
    TENANT,
    World,
    hop_of,
    serving,
    vector_of,
)

THIRD: dict[str, Any] = {"embedding_provider": "mistral", "embedding_model": "tiny"}
THIRD_SPACE = EmbeddingSpace(ModelProvider.MISTRAL, "tiny", 32)
PROBE = 1
"""How many texts a run embeds before any passage."""
CALL = 8
"""How many passages a call takes in these tests."""
CALLS = 3
"""How many calls run at once."""
IN_FLIGHT, PASSAGES_IN_FLIGHT = 32, 64
"""How many documents are worked on at once, and how many passages."""


@pytest.fixture(autouse=True)
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = CallLimits(CALL, 100_000, CALLS)
    monkeypatch.setattr("query.reindex_run.limits_of", lambda _: limits)
    monkeypatch.setattr("query.reindex_run.DOCUMENTS_IN_FLIGHT", IN_FLIGHT)
    monkeypatch.setattr("query.reindex_run.CHUNKS_IN_FLIGHT", PASSAGES_IN_FLIGHT)


def of_passages(texts: Sequence[str]) -> bool:
    """Whether it is no call of the kind that only asks for the space."""
    return list(texts) != ["text"]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 # nothing tells of it but a look
        await asyncio.sleep(0)


Before = Callable[[Sequence[str]], Awaitable[None]]


def options(
    collection: str = "cities",
    tenant: str = TENANT,
    time_remaining: float | None = None,
    **values: Any,
) -> ReindexOptions:
    return ReindexOptions(
        RequestContext(tenant), collection, asked(values or OTHER), time_remaining
    )


async def reindex(
    world: World, wanted: ReindexOptions | None = None
) -> tuple[list[ReindexProgress], ReindexSummary]:
    """Reindex to the end, into the other space if nothing else is said."""
    *progress, summary = [event async for event in world.reindexer.reindex(wanted or options())]
    assert isinstance(summary, ReindexSummary)
    assert all(isinstance(each, ReindexProgress) for each in progress)
    return [each for each in progress if isinstance(each, ReindexProgress)], summary


async def space_of(world: World, name: str = "cities", tenant: str = TENANT) -> Any:
    collection = await world.store.get_collection(tenant, name)
    return collection and collection.space


async def count_of(world: World, name: str) -> int:
    collection = await world.store.get_collection(TENANT, name)
    return collection.document_count if collection else 0


async def put(world: World, name: str, text: str, **values: Any) -> None:
    """Write a document, whatever the embedding service does meanwhile."""
    before = world.embeddings.before

    async def at_once(texts: Sequence[str]) -> None:
        if text not in texts:
            await before(texts)

    world.embeddings.before = at_once
    results, _ = await world.index([SourceDocument(name, text)], world.options(**values))
    world.embeddings.before = before
    assert [result.outcome for result in results] == [DocumentOutcome.INDEXED]


async def many(world: World, count: int, sentences: int = 1) -> None:
    """Index documents of so many passages each, and forget the calls."""
    documents = [
        SourceDocument(
            f"d{number:04}",
            "\n\n".join(
                f"# Parte {part}\n\nEl documento {number} dice {part}." for part in range(sentences)
            ),
        )
        for number in range(count)
    ]
    await world.index(documents)
    world.embeddings.calls.clear()


def count_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The documents whose passages the store has been asked for; it grows."""
    read = world.store.get_chunks
    asked_for = list[str]()

    async def counted(tenant: str, collection: str, document_id: str) -> Any:
        asked_for.append(document_id)
        return await read(tenant, collection, document_id)

    monkeypatch.setattr(world.store, "get_chunks", counted)
    return asked_for


def once(work: Callable[[], Awaitable[None]], word: str = "Francia") -> Before:
    """Do `work` at the first passage with the word."""
    left = [work]

    async def before(texts: Sequence[str]) -> None:
        if left and any(word in text for text in texts):
            await left.pop()()

    return before


def failing(word: str, reason: Reason = Reason.UPSTREAM_FAILED) -> Before:
    async def before(texts: Sequence[str]) -> None:
        if any(word in text for text in texts):
            raise RemoteError(reason, "It did not work.")

    return before


async def break_off(world: World) -> None:
    """A run over some calls' documents, of which one fails when those of another are stored."""
    await many(world, 2 * CALL)

    async def fail(texts: Sequence[str]) -> None:
        if any(f"documento {CALL} " in text for text in texts):
            while await count_of(world, staged("cities")) == 0:
                pass
            raise RemoteError(Reason.UPSTREAM_FAILED, "It did not work.")

    world.embeddings.before = fail
    with pytest.raises(RemoteError):
        await reindex(world)
    assert await space_of(world) == E5
    world.embeddings.before = failing("nothing")
    world.embeddings.calls.clear()


async def stage(world: World, space: EmbeddingSpace, *names: str) -> None:
    """What a run into this space has done when it has these documents."""
    staging = Staging(world.store, TENANT, "cities", space, "")
    for name in names:
        document = await world.store.get_document(TENANT, "cities", name)
        assert document is not None
        passages = await staging.passages(document)
        assert passages
        await staging.put(document, passages, [vector_of(each.text, space) for each in passages])


def too_long(word: str, *, named: bool) -> Before:
    """A model that takes no text with the word, and says which it is or not."""

    async def before(texts: Sequence[str]) -> None:
        for index, text in enumerate(texts):
            if word in text:
                metadata = {"index": str(index)} if named else {}
                error = RemoteError(Reason.CONTEXT_TOO_LONG, "Too long.", metadata=metadata)
                error.hops = (RemoteHop(service="embedding"),)
                raise error

    return before


async def test_the_collection_is_in_the_new_space_and_is_found_in_it(world: World) -> None:
    await world.fill()
    await reindex(world)
    assert await space_of(world) == OTHER_SPACE
    found = await world.search(CITIES["paris"], mode=SearchMode.DENSE)
    assert found.passages[0].hit.document_id == "paris"
    assert len(found.passages) == len(CITIES)


async def test_each_passage_is_embedded_once_and_as_an_indexing_would(world: World) -> None:
    documents = [
        SourceDocument("guía", "# España\n\nMadrid.\n\n## Sur\n\nSevilla.", title="Guía"),
        SourceDocument("nota", "Una nota sin título."),
    ]
    await world.index(documents)
    world.embeddings.calls.clear()
    await reindex(world)
    probe, *calls = world.embeddings.calls
    world.embeddings.calls = []
    await world.index(documents, world.options("fresh", **OTHER))
    texts = sorted(chain.from_iterable(texts for _, texts, _ in calls))
    assert texts == sorted(world.embeddings.texts)
    assert {(space, query) for space, _, query in [probe, *calls]} == {(OTHER_SPACE, False)}


async def test_documents_keep_all_but_their_vectors(world: World) -> None:
    document = SourceDocument(
        "guía",
        "# España\n\nMadrid.\n\n## Sur\n\nSevilla está en el sur.",
        title="Guía",
        source="docs/guía.md",
        metadata={"year": 2026, "draft": False},
    )
    await world.index([document])
    before = await world.store.get_document(TENANT, "cities", "guía")
    passages = await world.store.get_chunks(TENANT, "cities", "guía")
    await reindex(world)
    assert before is not None
    assert await world.store.get_document(TENANT, "cities", "guía") == before
    assert await world.store.get_chunks(TENANT, "cities", "guía") == passages
    results, _ = await world.index([document])
    assert [result.outcome for result in results] == [DocumentOutcome.UNCHANGED]


async def test_the_summary_says_what_was_done_and_by_which_configuration(world: World) -> None:
    await world.fill()
    _, summary = await reindex(world)
    assert (summary.previous_space, summary.space) == (E5, OTHER_SPACE)
    assert (summary.documents, summary.chunks) == (4, 4)
    assert summary.usage == Usage(input_tokens=PROBE + 4)
    assert [hop_of(hop) for hop in summary.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
    ]
    report = summary.hops[0]
    assert isinstance(report, HopReport)
    assert report.collections == ("cities",)
    assert report.effective.sources["embedding_model"] is Source.REQUEST


async def test_progress_rises_to_the_number_of_documents(world: World) -> None:
    await many(world, 60 * CALL)
    progress, _ = await reindex(world)
    counts = [each.documents for each in progress]
    assert {each.total_documents for each in progress} == {60 * CALL}
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 60 * CALL)
    assert len(counts) > 3


async def test_the_old_space_serves_until_all_is_embedded(world: World) -> None:
    await world.fill()
    seen = []

    async def look() -> None:
        found = await world.search("capital de España", mode=SearchMode.DENSE)
        collections, _ = await world.store.list_collections(TENANT, 10)
        seen.append((found.passages[0].hit.document_id, await space_of(world), len(collections)))

    world.embeddings.before = once(look)
    await reindex(world)
    assert seen == [("madrid", E5, 1)]


async def test_what_is_written_meanwhile_is_in_the_new_space(world: World) -> None:
    await world.fill()

    async def write() -> None:
        await put(world, "lisboa", "Lisboa es la capital de Portugal.")
        await put(world, "madrid", "Madrid tiene un museo nuevo.")
        await world.store.delete_documents(TENANT, "cities", ["roma"])

    world.embeddings.before = once(write)
    _, summary = await reindex(world)
    assert await space_of(world) == OTHER_SPACE
    found = await world.search("capital museo", mode=SearchMode.DENSE, top_k=10)
    texts = {passage.hit.document_id: passage.hit.text for passage in found.passages}
    assert texts == {
        "berlin": CITIES["berlin"],
        "lisboa": "Lisboa es la capital de Portugal.",
        "madrid": "Madrid tiene un museo nuevo.",
        "paris": CITIES["paris"],
    }
    assert summary.documents == len(CITIES) + 2


async def test_a_document_changed_while_it_is_read_is_not_mixed_with_its_new_version(
    world: World,
) -> None:
    await world.fill()
    staging = Staging(world.store, TENANT, "cities", OTHER_SPACE, "")
    old = await world.store.get_document(TENANT, "cities", "madrid")
    assert old is not None
    assert await staging.passages(old)
    await put(world, "madrid", "Madrid es otra.")
    assert await staging.passages(old) is None


async def test_a_document_changed_after_it_was_listed_comes_over_in_its_new_version(
    world: World,
) -> None:
    last = IN_FLIGHT
    await many(world, last + 1)
    begun, changed = asyncio.Event(), asyncio.Event()

    async def change_first(texts: Sequence[str]) -> None:
        if of_passages(texts) and not begun.is_set():
            begun.set()
            await put(world, f"d{last:04}", "Algo nuevo.")
            changed.set()
        elif of_passages(texts):
            await changed.wait()

    world.embeddings.before = change_first
    _, summary = await reindex(world)
    assert not any(f"El documento {last} dice" in text for text in world.embeddings.texts)
    assert summary.documents == last + 1
    [passage] = await world.store.get_chunks(TENANT, "cities", f"d{last:04}")
    assert passage.text == "Algo nuevo."


async def test_an_indexing_that_outlives_the_switch_is_refused_and_stores_nothing(
    world: World,
) -> None:
    await world.fill()
    switched = asyncio.Event()

    async def held(texts: Sequence[str]) -> None:
        if "Lisboa" in texts[0]:
            await switched.wait()

    world.embeddings.before = held
    indexing = asyncio.create_task(world.index([SourceDocument("lisboa", "Lisboa.")]))
    await until(lambda: world.embeddings.running > 0)
    await reindex(world)
    switched.set()
    with pytest.raises(EmbeddingSpaceMismatchError):
        await indexing
    assert await world.store.get_document(TENANT, "cities", "lisboa") is None


async def test_a_run_that_broke_off_is_continued(world: World) -> None:
    await break_off(world)
    progress, summary = await reindex(world)
    there = progress[0].documents
    assert there > 0
    # What was being written when the run broke off may be there a moment later.
    assert summary.documents <= 2 * CALL - there
    assert len(world.embeddings.texts) == PROBE + summary.documents
    assert await space_of(world) == OTHER_SPACE


async def test_a_run_into_another_space_than_the_broken_one_begins_again(world: World) -> None:
    await break_off(world)
    progress, summary = await reindex(world, options(**THIRD))
    assert (progress[0].documents, summary.documents) == (0, 2 * CALL)
    assert await space_of(world) == THIRD_SPACE
    assert await space_of(world, staged("cities")) is None


async def test_what_vanished_since_a_run_broke_off_does_not_come_back(world: World) -> None:
    await break_off(world)
    gone = [f"d{number:04}" for number in range(2 * CALL) if number % 5]
    await world.store.delete_documents(TENANT, "cities", gone)
    await reindex(world)
    listed, _ = await world.store.list_documents(TENANT, "cities", 10)
    assert [document.document_id for document in listed] == [
        f"d{number:04}" for number in (0, 5, 10, 15)
    ]
    assert await space_of(world) == OTHER_SPACE


async def test_the_same_space_is_left_as_it_is(world: World) -> None:
    await world.fill()
    progress, summary = await reindex(world, options(embedding_provider="local"))
    assert (progress, world.embeddings.calls) == ([], [])
    assert (summary.previous_space, summary.space) == (E5, E5)
    assert (summary.documents, summary.chunks, len(summary.hops)) == (0, 0, 1)


async def test_the_same_space_is_known_by_its_vectors_where_its_length_is_not_said(
    world: World,
) -> None:
    await world.fill(**OTHER)
    progress, summary = await reindex(world)
    assert (progress, len(world.embeddings.texts)) == ([], PROBE)
    assert (summary.previous_space, summary.space) == (OTHER_SPACE, OTHER_SPACE)


async def test_where_nothing_is_to_be_done_what_another_run_has_built_stays(world: World) -> None:
    await world.fill(**OTHER)
    await stage(world, E5, "madrid")
    await reindex(world)
    assert await count_of(world, staged("cities")) == 1


async def test_the_collection_does_not_decide_the_space(world: World) -> None:
    await world.fill(**OTHER)
    await reindex(world, options(embedding_model="multilingual-e5-small"))
    assert await space_of(world) == E5


async def test_an_endpoint_is_remembered_with_its_space(world: World) -> None:
    world.configure(
        endpoints={"ours": {"provider": "openai", "base_url": "http://127.0.0.1:9/v1"}},
        secrets={
            "s": {
                "provider": "openai",
                "endpoint": "ours",
                "tenants": [TENANT],
                "from": {"env": "OPENAI_API_KEY"},
            }
        },
    )
    await world.fill()
    await reindex(world, options(embedding_endpoint="ours", embedding_model="tiny"))
    collection = await world.store.get_collection(TENANT, "cities")
    assert collection is not None
    assert (collection.endpoint, collection.space.endpoint_space) == ("ours", "ours")


async def test_a_collection_without_documents_changes_its_space(world: World) -> None:
    await world.fill()
    await world.store.delete_documents(TENANT, "cities", list(CITIES))
    _, summary = await reindex(world)
    collection = await world.store.get_collection(TENANT, "cities")
    assert collection is not None
    assert (collection.space, collection.document_count) == (OTHER_SPACE, 0)
    assert summary.documents == 0


async def test_an_absent_collection_is_reported_and_what_was_built_for_it_is_dropped(
    world: World,
) -> None:
    await break_off(world)
    await world.store.delete_collection(TENANT, "cities")
    assert await space_of(world, staged("cities")) == OTHER_SPACE
    with pytest.raises(CollectionNotFoundError):
        await reindex(world)
    assert await space_of(world, staged("cities")) is None


async def test_a_collection_deleted_meanwhile_is_reported_and_leaves_nothing(
    world: World,
) -> None:
    await world.fill()

    async def delete() -> None:
        assert await world.store.delete_collection(TENANT, "cities")

    world.embeddings.before = once(delete)
    with pytest.raises(CollectionNotFoundError) as caught:
        await reindex(world)
    assert caught.value.metadata["collection"] == "cities"
    assert await space_of(world, staged("cities")) is None


async def test_another_tenants_collection_of_that_name_is_not_touched(world: World) -> None:
    await world.fill()
    with pytest.raises(CollectionNotFoundError):
        await reindex(world, options(tenant="other"))
    assert await space_of(world) == E5


@pytest.mark.parametrize("named", [True, False])
async def test_a_passage_too_long_for_the_model_is_named_with_its_document(
    world: World, *, named: bool
) -> None:
    await many(world, 20, sentences=3)
    world.embeddings.before = too_long("documento 13 dice 2", named=named)
    with pytest.raises(RemoteError) as caught:
        await reindex(world)
    assert caught.value.code_reason is Reason.CONTEXT_TOO_LONG
    assert caught.value.metadata["document_id"] == "d0013"
    assert "'d0013'" in caught.value.message
    assert [hop_of(hop)[0] for hop in caught.value.hops] == ["query", "embedding"]
    assert await space_of(world) == E5


async def test_several_documents_share_a_call_and_several_calls_run_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many(world, (CALLS + 2) * CALL)
    reads = count_reads(world, monkeypatch)
    release = asyncio.Event()

    async def hold(texts: Sequence[str]) -> None:
        if of_passages(texts):
            await release.wait()

    world.embeddings.before = hold
    run = asyncio.create_task(reindex(world))
    await until(lambda: len(reads) == IN_FLIGHT and world.embeddings.running == CALLS)
    await asyncio.sleep(0.1)
    assert len(world.embeddings.calls) == PROBE + CALLS
    release.set()  # what has been read meanwhile fills the calls that follow
    await run
    assert world.embeddings.most_running == CALLS
    assert max(len(texts) for _, texts, _ in world.embeddings.calls) == CALL


@pytest.mark.parametrize(("passages", "documents"), [(1, IN_FLIGHT), (8, PASSAGES_IN_FLIGHT // 8)])
async def test_no_more_documents_are_read_than_there_is_room_for(
    world: World, monkeypatch: pytest.MonkeyPatch, passages: int, documents: int
) -> None:
    await many(world, 3 * documents, sentences=passages)
    release = asyncio.Event()
    reads = count_reads(world, monkeypatch)

    async def hold(texts: Sequence[str]) -> None:
        if of_passages(texts):
            await release.wait()

    world.embeddings.before = hold
    run = asyncio.create_task(reindex(world))
    await until(lambda: len(reads) == documents)
    await asyncio.sleep(0.1)
    assert len(reads) == documents
    release.set()
    await run
    assert len(reads) == 3 * documents


async def test_a_document_of_more_passages_than_a_call_takes_is_one_document(
    world: World,
) -> None:
    await many(world, 2, sentences=CALL + 10)
    _, summary = await reindex(world)
    assert (summary.documents, summary.chunks) == (2, 2 * (CALL + 10))
    assert max(len(texts) for _, texts, _ in world.embeddings.calls) == CALL
    found = await world.search(f"documento 1 dice {CALL + 5}", mode=SearchMode.DENSE)
    assert found.passages[0].hit.chunk_id == f"d0001#{CALL + 5}"


async def test_two_runs_into_one_space_at_once_both_end_well(world: World) -> None:
    await many(world, 2 * CALL)
    both = asyncio.Barrier(2)

    async def meet(texts: Sequence[str]) -> None:
        if any("documento 0 " in text for text in texts):
            await both.wait()

    world.embeddings.before = meet
    runs = await asyncio.gather(reindex(world), reindex(world))
    assert {summary.space for _, summary in runs} == {OTHER_SPACE}
    collection = await world.store.get_collection(TENANT, "cities")
    assert collection is not None
    assert (collection.space, collection.document_count) == (OTHER_SPACE, 2 * CALL)
    assert await space_of(world, staged("cities")) is None


async def test_a_run_that_another_one_has_overtaken_leaves_its_work_in_force(
    world: World,
) -> None:
    await world.fill()

    async def overtake() -> None:
        await reindex(world)
        await put(world, "lisboa", "Lisboa es la capital de Portugal.")

    world.embeddings.before = once(overtake)
    _, summary = await reindex(world)
    assert (summary.space, await space_of(world)) == (OTHER_SPACE, OTHER_SPACE)
    assert await space_of(world, staged("cities")) is None
    assert await world.store.get_document(TENANT, "cities", "lisboa") is not None


async def test_of_two_runs_into_different_spaces_the_later_one_wins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.fill()
    one_by_one = CallLimits(1, 100_000, len(CITIES))
    monkeypatch.setattr("query.reindex_run.limits_of", lambda _: one_by_one)

    async def start_another() -> None:
        while await count_of(world, staged("cities")) < len(CITIES) - 1:
            pass
        await world.store.delete_collection(TENANT, staged("cities"))
        await stage(world, THIRD_SPACE, "madrid")

    world.embeddings.before = once(start_another)
    with pytest.raises(RemoteError) as caught:
        await reindex(world)
    assert caught.value.code_reason is Reason.EMBEDDING_SPACE_MISMATCH
    assert caught.value.metadata["collection_space"] == str(THIRD_SPACE)
    assert staged("cities") not in caught.value.message
    assert await space_of(world) == E5
    await reindex(world, options(**THIRD))
    assert await space_of(world) == THIRD_SPACE


async def test_a_run_does_not_put_in_force_what_another_one_has_built(world: World) -> None:
    await world.fill()
    await stage(world, THIRD_SPACE, *CITIES)
    staging = Staging(world.store, TENANT, "cities", OTHER_SPACE, "")
    with pytest.raises(RemoteError) as caught:
        await staging.promote(vector_of("text", OTHER_SPACE))
    assert caught.value.code_reason is Reason.EMBEDDING_SPACE_MISMATCH
    assert await space_of(world) == E5


async def test_a_cancelled_run_takes_its_calls_back_and_the_old_space_serves(
    world: World,
) -> None:
    await world.fill()

    async def hang(texts: Sequence[str]) -> None:
        if of_passages(texts):
            await asyncio.Event().wait()

    world.embeddings.before = hang
    run = asyncio.create_task(reindex(world))
    await until(lambda: len(world.embeddings.calls) == 2)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert world.embeddings.running == 0
    assert world.embeddings.cancelled > 0
    assert await space_of(world) == E5


async def test_a_failed_call_takes_the_others_back_and_tells_the_hops(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.fill()
    monkeypatch.setattr("query.reindex_run.limits_of", lambda _: CallLimits(1, 100_000, CALLS))
    hanging = asyncio.Event()

    async def fail(texts: Sequence[str]) -> None:
        if CITIES["madrid"] in texts[0]:
            hanging.set()
            await asyncio.Event().wait()
        if CITIES["paris"] in texts[0]:
            await hanging.wait()
            raise RemoteError(Reason.UPSTREAM_FAILED, "It did not work.")

    world.embeddings.before = fail
    with pytest.raises(RemoteError) as caught:
        await reindex(world)
    assert (world.embeddings.running, world.embeddings.cancelled) == (0, 1)
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "embedding")]


async def test_vectors_of_another_space_than_the_first_are_not_stored(world: World) -> None:
    await world.fill()

    async def turn(_: Sequence[str]) -> None:
        world.embeddings.answers_in = THIRD_SPACE

    world.embeddings.before = turn
    with pytest.raises(EmbeddingSpaceMismatchError):
        await reindex(world)
    assert await space_of(world) == E5
    assert await space_of(world, staged("cities")) is None


async def test_without_a_key_nothing_is_begun(world: World) -> None:
    await world.fill()
    world.embeddings.before = failing("", Reason.CREDENTIAL_MISSING)
    with pytest.raises(RemoteError) as caught:
        await reindex(world)
    assert caught.value.code_reason is CredentialMissingError.reason
    assert len(world.embeddings.texts) == PROBE
    assert await space_of(world, staged("cities")) is None


async def test_a_call_has_its_own_limit_and_never_more_than_is_left(world: World) -> None:
    await world.fill()
    await reindex(world, options(timeout_seconds=7.0, **OTHER))
    assert {round(seconds) for seconds in world.embeddings.remaining[-2:]} == {7}
    await reindex(world, options(time_remaining=3.0, timeout_seconds=7.0, **THIRD))
    assert {round(seconds) for seconds in world.embeddings.remaining[-2:]} == {3}


async def test_a_run_out_of_time_says_so(world: World) -> None:
    await world.fill()
    with pytest.raises(RemoteError) as caught:
        await reindex(world, options(time_remaining=0.0, **OTHER))
    assert caught.value.code_reason is Reason.BUDGET_SPENT


async def test_the_rpc_gives_progress_and_the_summary_last(world: World) -> None:
    await world.fill()
    configuration = model_configuration_pb2.ModelConfiguration(
        embedding_provider=model_provider_pb2.MODEL_PROVIDER_OPENAI,
        embedding_model="tiny",
    )
    request = pb.ReindexCollectionRequest(collection="cities", model_configuration=configuration)
    request.context.tenant_id = TENANT
    async with serving(world) as stub:
        parts = [part async for part in stub.ReindexCollection(request)]
    *progress, last = parts
    counts = [(part.progress.documents, part.progress.total_documents) for part in progress]
    assert (counts[0], counts[-1]) == ((0, 4), (4, 4))
    summary = last.summary
    assert (summary.documents, summary.chunks, summary.usage.input_tokens) == (4, 4, PROBE + 4)
    assert summary.previous_space.model == "multilingual-e5-small"
    assert (summary.embedding_space.model, summary.embedding_space.dimensions) == ("tiny", 32)
    assert [hop.service for hop in summary.configuration_trace.hops] == ["query", "embedding"]


async def test_the_rpc_wants_to_be_told_how_to_embed(world: World) -> None:
    await world.fill()
    request = pb.ReindexCollectionRequest(collection=" ")
    request.model_configuration.timeout_seconds = 5
    async with serving(world) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ReindexCollection(request).read()
    error = from_status(caught.value, "query")
    assert error.code_reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [
        "collection",
        "model_configuration",
    ]
