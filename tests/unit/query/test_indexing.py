import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from config_core.errors import (
    CredentialMissingError,
    EmbeddingSpaceMismatchError,
    InvalidConfigurationError,
    Reason,
    RemoteError,
)
from config_core.source import Source
from query import indexer
from query.extraction.model import MediaType
from query.index_run import BYTES_IN_FLIGHT, DOCUMENTS_IN_FLIGHT, RESULTS_AHEAD
from query.indexing import (
    DocumentOutcome,
    DocumentResult,
    IndexOptions,
    IndexSummary,
    SourceDocument,
)
from query.store import Equals, Filter, SearchMode
from service_core.trace import HopReport
from service_core.usage import Usage
from tests.unit.query.pdf_files import pdf
from tests.unit.query.world import E5, OTHER, OTHER_SPACE, TENANT, World, hop_of, stream

INDEXED, UNCHANGED, FAILED = DocumentOutcome
MADRID = SourceDocument("madrid", "Madrid es la capital de España.", title="Madrid")
PARIS = SourceDocument("paris", "París es la capital de Francia.", title="París")
LONG = SourceDocument("long", " ".join(f"Esta es la frase número {n}." for n in range(80)))


def documents(count: int) -> list[SourceDocument]:
    """Short documents that differ."""
    return [SourceDocument(f"d{n}", f"El documento {n} trata de algo.") for n in range(count)]


def large(name: str) -> SourceDocument:
    """A document that fills a call of its own; its name is in each of its passages."""
    sentences = (f"La frase {n} de {name} habla de algo que nadie más dice." for n in range(40))
    return SourceDocument(name, " ".join(sentences))


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def failing(reason: Reason, word: str = "") -> Any:
    """An embedding that fails for texts with this word."""

    async def fail(texts: Sequence[str]) -> None:
        if any(word in text for text in texts):
            raise RemoteError(reason, "It did not work.")

    return fail


class Feed:
    """Documents without end, which counts how many were taken."""

    def __init__(self, text: str = "") -> None:
        self.taken = 0
        self._text = text

    async def documents(self) -> AsyncIterator[SourceDocument]:
        while True:
            self.taken += 1
            yield SourceDocument(f"d{self.taken}", f"El documento {self.taken}. {self._text}")


async def at_rest(feed: Feed) -> None:
    """Wait until no document has been taken for a while."""
    before = -1
    while before != feed.taken:
        before = feed.taken
        await asyncio.sleep(0.3)


async def test_each_document_has_one_result_with_its_position_and_the_summary_is_last(
    world: World,
) -> None:
    results, summary = await world.index(documents(10))
    assert sorted((result.position, result.document_id) for result in results) == [
        (position, f"d{position}") for position in range(10)
    ]
    assert {(result.outcome, result.chunk_count) for result in results} == {(INDEXED, 1)}
    assert (summary.indexed, summary.unchanged, summary.failed, summary.chunks) == (10, 0, 0, 10)


async def test_results_come_in_order_of_completion(world: World) -> None:
    others = asyncio.Event()

    async def slow_first(texts: Sequence[str]) -> None:
        if "de a habla" in texts[0]:
            await others.wait()

    world.embeddings.before = slow_first
    order = []
    async for event in world.indexer.index(world.options(), stream(map(large, "abc"))):
        if isinstance(event, DocumentResult):
            order.append(event.position)
            if len(order) == 2:
                others.set()
    assert sorted(order[:2]) == [1, 2]
    assert order[2] == 0


async def test_a_result_is_given_once_the_document_is_stored(world: World) -> None:
    async for event in world.indexer.index(world.options(), stream([MADRID])):
        if isinstance(event, DocumentResult):
            assert await world.store.get_document(TENANT, "cities", "madrid") is not None


async def test_an_empty_stream_ends_in_a_summary_and_makes_no_collection(world: World) -> None:
    results, summary = await world.index([])
    assert (results, summary.indexed) == ([], 0)
    assert await world.store.get_collection(TENANT, "cities") is None


async def test_a_new_collection_is_pinned_to_the_space_of_its_vectors(world: World) -> None:
    await world.index([MADRID], world.options(**OTHER))
    collection = await world.store.get_collection(TENANT, "cities")
    assert collection is not None
    assert collection.space == OTHER_SPACE


async def test_the_summary_counts_usage_and_reports_each_hop_once(world: World) -> None:
    _, summary = await world.index([*documents(3)])
    assert summary.usage == Usage(input_tokens=3)
    assert [hop_of(hop) for hop in summary.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
    ]
    report = summary.hops[0]
    assert isinstance(report, HopReport)
    assert report.collections == ("cities",)


async def test_documents_of_a_collection_follow_its_space(world: World) -> None:
    await world.index([MADRID], world.options(**OTHER))
    _, summary = await world.index([PARIS])
    assert {space for space, _, _ in world.embeddings.calls} == {OTHER_SPACE}
    report = summary.hops[0]
    assert isinstance(report, HopReport)
    assert report.effective.sources["embedding_model"] is Source.COLLECTION


async def test_passages_are_embedded_as_passages(world: World) -> None:
    await world.index([MADRID])
    assert world.embeddings.calls == [(E5, [MADRID.text], False)]


async def test_an_unchanged_document_is_not_embedded_again(world: World) -> None:
    await world.index([MADRID, PARIS])
    world.embeddings.calls.clear()
    results, summary = await world.index([MADRID, PARIS])
    assert [(result.outcome, result.chunk_count) for result in results] == [(UNCHANGED, 1)] * 2
    assert (summary.unchanged, summary.chunks, summary.usage) == (2, 0, Usage())
    assert world.embeddings.calls == []


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Madrid está en España."},
        {"title": "La capital"},
        {"source": "otra/parte.md"},
        {"metadata": {"language": "es"}},
        {"metadata": {"year": 2027}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_any_change_of_a_document_is_indexed(world: World, change: dict[str, Any]) -> None:
    before = replace(MADRID, metadata={"year": 2026})
    await world.index([before])
    [result], _ = await world.index([replace(before, **change)])
    assert result.outcome is INDEXED


async def test_changed_metadata_can_be_filtered_by(world: World) -> None:
    await world.index([replace(MADRID, metadata={"year": 2026})])
    await world.index([replace(MADRID, metadata={"year": 2027})])
    found = await world.search("capital", filter=Filter(conditions=(Equals("year", 2027),)))
    assert len(found.passages) == 1


async def test_the_order_of_metadata_is_no_change(world: World) -> None:
    await world.index([replace(MADRID, metadata={"a": 1, "b": True})])
    [result], _ = await world.index([replace(MADRID, metadata={"b": True, "a": 1})])
    assert result.outcome is UNCHANGED


async def test_another_size_of_passages_cuts_the_document_anew(world: World) -> None:
    [first], _ = await world.index([LONG])
    [second], _ = await world.index([LONG], replace(world.options(), chunk_tokens=40))
    assert second.outcome is INDEXED
    assert second.chunk_count > first.chunk_count


async def test_a_document_without_title_takes_its_first_heading(world: World) -> None:
    text = "# España\n\n## Madrid\n\nEs la capital."
    await world.index([SourceDocument("d", text)])
    stored = await world.store.get_document(TENANT, "cities", "d")
    assert stored is not None
    assert stored.title == "España"


async def test_a_plain_text_has_no_headings(world: World) -> None:
    text = "# España\n\nMadrid es la capital."
    await world.index([SourceDocument("d", text, media_type=MediaType.PLAIN)])
    stored = await world.store.get_document(TENANT, "cities", "d")
    [hit] = (await world.search("capital")).passages
    assert stored is not None
    assert (stored.title, hit.hit.section) == ("", "")


async def test_markdown_takes_the_title_of_its_front_matter(world: World) -> None:
    text = "---\ntitle: Países\n---\n# España\n\nMadrid es la capital."
    await world.index([SourceDocument("d", text)])
    stored = await world.store.get_document(TENANT, "cities", "d")
    assert stored is not None
    assert stored.title == "Países"


async def test_the_title_that_is_sent_outweighs_the_documents_own(world: World) -> None:
    page = b"<title>Suyo</title><p>Madrid es la capital."
    document = SourceDocument("d", "", title="Otro", content=page, media_type=MediaType.HTML)
    await world.index([document, replace(document, document_id="e", title="")])
    titles = []
    for name in "de":
        stored = await world.store.get_document(TENANT, "cities", name)
        assert stored is not None
        titles.append(stored.title)
    assert titles == ["Otro", "Suyo"]


async def test_offsets_are_those_in_the_text_that_was_read(world: World) -> None:
    page = "<h1>España</h1><p>Uno.</p><h2>Ríos</h2><p>El <b>Ebro</b> es un río."
    document = SourceDocument("d", "", content=page.encode(), media_type=MediaType.HTML)
    await world.index([document])
    found = await world.search("Ebro", mode=SearchMode.FULL_TEXT)
    hit = found.passages[0].hit
    read = "# España\n\nUno.\n\n## Ríos\n\nEl Ebro es un río."
    assert read[hit.start : hit.end] == hit.text == "## Ríos\n\nEl Ebro es un río."
    assert hit.section == "España > Ríos"


async def test_a_passage_of_a_pdf_tells_its_page(world: World) -> None:
    pages = [[f"La línea {n} de {name}." for n in range(9)] for name in ("Madrid", "París")]
    document = SourceDocument("d", "", content=pdf(*pages), media_type=MediaType.PDF)
    await world.index([document], replace(world.options(), chunk_tokens=64, overlap_sentences=0))
    found = await world.search("Madrid París", top_k=9)
    by_page = {each.hit.section: each.hit.text for each in found.passages}
    assert by_page.keys() == {"page 1", "page 2"}
    assert "París" in by_page["page 2"]
    assert "Madrid" not in by_page["page 2"]


async def test_a_file_that_can_not_be_read_fails_alone(world: World) -> None:
    broken = SourceDocument("bad", "", content=b"no PDF", media_type=MediaType.PDF)
    results, summary = await world.index([MADRID, broken, PARIS])
    [failed] = [result for result in results if result.outcome is FAILED]
    assert (failed.document_id, failed.reason) == ("bad", Reason.INVALID_ARGUMENT)
    assert "repair or export it anew" in failed.detail
    assert (summary.indexed, summary.failed) == (2, 1)


async def test_a_file_that_has_not_changed_is_not_even_read(world: World) -> None:
    page = SourceDocument("d", "", content=b"<p>Madrid", media_type=MediaType.HTML)
    await world.index([page])
    await world.extractor.aclose()
    [result], _ = await world.index([page])
    assert result.outcome is UNCHANGED
    assert world.extractor._idle == []


async def test_the_same_bytes_of_another_kind_are_another_document(world: World) -> None:
    page = SourceDocument("d", "", content=b"# Madrid", media_type=MediaType.MARKDOWN)
    await world.index([page])
    [result], _ = await world.index([replace(page, media_type=MediaType.PLAIN)])
    assert result.outcome is INDEXED


async def test_another_way_to_read_and_cut_has_documents_indexed_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.index([MADRID])
    monkeypatch.setattr(indexer, "VERSION", indexer.VERSION + 1)
    [result], _ = await world.index([MADRID])
    assert result.outcome is INDEXED


async def test_a_text_without_anything_to_see_says_what_to_do(world: World) -> None:
    [result], _ = await world.index([SourceDocument("d", "\u200b\u200b")])
    assert (result.outcome, result.reason) == (FAILED, Reason.INVALID_ARGUMENT)
    assert "nothing but blanks" in result.detail


async def test_a_passage_is_embedded_with_its_title_and_stored_without(world: World) -> None:
    text = "# Aurora 200\n\n## Batería\n\nDura 9 horas.\n\n## Filtro\n\nSe limpia con agua."
    await world.index([SourceDocument("d", text, title="Manual")])
    assert world.embeddings.texts == [
        "Manual\n\n# Aurora 200\n\n## Batería\n\nDura 9 horas.",
        "Manual > Aurora 200\n\n## Filtro\n\nSe limpia con agua.",
    ]
    found = await world.search("filtro", mode=SearchMode.FULL_TEXT)
    assert found.passages[0].hit.text == "## Filtro\n\nSe limpia con agua."


async def test_small_documents_share_calls(world: World) -> None:
    await world.index(documents(200))
    assert len(world.embeddings.calls) < 100
    assert sorted(world.embeddings.texts) == sorted(each.text for each in documents(200))


async def test_only_the_document_whose_passage_is_too_long_is_cut_smaller(world: World) -> None:
    async def refuse_long(texts: Sequence[str]) -> None:
        if any(len(text) > 400 for text in texts):
            raise RemoteError(Reason.CONTEXT_TOO_LONG, "The text is too long.")

    world.embeddings.before = refuse_long
    short = SourceDocument("short", "Madrid es la capital. " * 12)
    results, _ = await world.index([short, LONG], replace(world.options(), chunk_tokens=200))
    counts = {result.document_id: result.chunk_count for result in results}
    assert counts["short"] == 1
    assert counts["long"] > 5


async def test_what_fails_every_document_is_reported_with_each_hop_once(world: World) -> None:
    async def fail(_: Sequence[str]) -> None:
        await settled()
        raise RemoteError(Reason.MODEL_NOT_FOUND, "There is no such model.")

    world.embeddings.before = fail
    with pytest.raises(RemoteError) as caught:
        await world.index(documents(50))
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "embedding")]


async def test_an_unusable_document_fails_with_the_reason_and_the_rest_goes_on(
    world: World,
) -> None:
    bad = SourceDocument("bad", "", problem="text must not be empty or blank")
    results, summary = await world.index([MADRID, bad, PARIS])
    by_id = {result.document_id: result for result in results}
    assert (by_id["bad"].outcome, by_id["bad"].reason) == (FAILED, Reason.INVALID_ARGUMENT)
    assert "text must not be empty or blank" in by_id["bad"].detail
    assert (summary.indexed, summary.failed) == (2, 1)


@pytest.mark.parametrize(
    "reason",
    [Reason.UPSTREAM_FAILED, Reason.BUDGET_SPENT, Reason.CONTENT_REFUSED, Reason.UPSTREAM_REJECTED],
)
async def test_a_failure_of_one_document_does_not_end_the_stream(
    world: World, reason: Reason
) -> None:
    world.embeddings.before = failing(reason, "Francia")
    results, summary = await world.index([MADRID, PARIS])
    outcomes = {result.document_id: (result.outcome, result.reason) for result in results}
    assert outcomes == {"madrid": (INDEXED, None), "paris": (FAILED, reason)}
    assert (summary.indexed, summary.failed) == (1, 1)


async def test_a_failed_document_keeps_its_earlier_version(world: World) -> None:
    await world.index([PARIS])
    world.embeddings.before = failing(Reason.UPSTREAM_FAILED)
    await world.index([replace(PARIS, text="París es otra cosa.")])
    found = await world.search("capital", mode=SearchMode.FULL_TEXT)
    assert [each.hit.text for each in found.passages] == [PARIS.text]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.CREDENTIAL_MISSING,
        Reason.CALLER_CREDENTIAL_REJECTED,
        Reason.UPSTREAM_CREDENTIAL_REJECTED,
        Reason.MODEL_NOT_FOUND,
        Reason.CAPABILITY_UNSUPPORTED,
        Reason.POLICY_VIOLATION,
        Reason.PERMISSION_DENIED,
        Reason.INVALID_CONFIGURATION,
    ],
)
async def test_what_fails_every_document_ends_the_stream(world: World, reason: Reason) -> None:
    world.embeddings.before = failing(reason)
    feed = Feed()
    with pytest.raises(RemoteError) as caught:
        await world.consume(feed.documents())
    assert caught.value.code_reason is reason
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "embedding")]
    assert feed.taken <= 2 * DOCUMENTS_IN_FLIGHT


async def test_an_invalid_configuration_is_refused_before_a_document_is_read(
    world: World,
) -> None:
    feed = Feed()
    options = world.options(temperature=9.0)
    with pytest.raises(InvalidConfigurationError):
        await anext(world.indexer.index(options, feed.documents()))
    assert feed.taken == 0


async def test_another_space_than_the_collections_is_refused_before_any_embedding(
    world: World,
) -> None:
    await world.index([MADRID])
    world.embeddings.calls.clear()
    with pytest.raises(EmbeddingSpaceMismatchError) as caught:
        await world.index([PARIS], world.options(**OTHER))
    assert caught.value.metadata["collection_space"] == str(E5)
    assert caught.value.metadata["requested_space"].startswith("openai/tiny")
    assert world.embeddings.calls == []


async def test_vectors_of_another_space_than_the_collections_are_not_stored(
    world: World,
) -> None:
    await world.index([MADRID])
    world.embeddings.answers_in = OTHER_SPACE
    with pytest.raises(EmbeddingSpaceMismatchError):
        await world.index([PARIS])
    assert await world.store.get_document(TENANT, "cities", "paris") is None


async def test_of_two_streams_into_a_new_collection_one_space_wins_whole(world: World) -> None:
    both = asyncio.Barrier(2)

    async def meet(_: Sequence[str]) -> None:
        await both.wait()

    world.embeddings.before = meet
    outcomes = await asyncio.gather(
        world.index([MADRID]), world.index([PARIS], world.options(**OTHER)), return_exceptions=True
    )
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    assert [type(each) for each in failures] == [EmbeddingSpaceMismatchError]
    collection = await world.store.get_collection(TENANT, "cities")
    assert collection is not None
    assert collection.document_count == 1
    assert isinstance(failures[0], EmbeddingSpaceMismatchError)
    assert failures[0].collection_space == collection.space != failures[0].requested_space


async def test_of_the_same_id_twice_the_later_wins(world: World) -> None:
    first_is_slow = asyncio.Event()

    async def slow_first(texts: Sequence[str]) -> None:
        if "primera" in texts[0]:
            await settled()
            first_is_slow.set()

    world.embeddings.before = slow_first
    versions = [
        SourceDocument("d", "La primera versión."),
        SourceDocument("d", "La segunda versión."),
        SourceDocument("d", "La tercera versión."),
    ]
    results, summary = await world.index(versions)
    assert first_is_slow.is_set()
    assert [result.position for result in results] == [0, 1, 2]
    assert summary.indexed == 3
    found = await world.search("versión", mode=SearchMode.FULL_TEXT)
    assert [each.hit.text for each in found.passages] == ["La tercera versión."]


async def test_no_more_documents_are_taken_than_there_are_places(world: World) -> None:
    async def wait(_: Sequence[str]) -> None:
        await asyncio.Event().wait()

    world.embeddings.before = wait
    feed = Feed()
    async with aclosing(world.indexer.index(world.options(), feed.documents())) as events:
        first = asyncio.ensure_future(anext(events))
        await at_rest(feed)
        assert feed.taken == DOCUMENTS_IN_FLIGHT + 1  # one waits for a place
        first.cancel()
        await asyncio.wait([first])


async def test_no_more_documents_are_taken_than_fit_into_memory(world: World) -> None:
    async def wait(_: Sequence[str]) -> None:
        await asyncio.Event().wait()

    world.embeddings.before = wait
    size = 1_000_000
    feed = Feed("palabra " * (size // 8))
    async with aclosing(world.indexer.index(world.options(), feed.documents())) as events:
        first = asyncio.ensure_future(anext(events))
        await at_rest(feed)
        assert 2 <= feed.taken <= BYTES_IN_FLIGHT // size
        first.cancel()
        await asyncio.wait([first])


async def test_a_document_larger_than_all_the_room_does_not_stop_the_others(world: World) -> None:
    text = "palabra " * 240_000
    assert SourceDocument("d", "", content=text.encode()).weight < BYTES_IN_FLIGHT
    content = text.encode() + b" " * BYTES_IN_FLIGHT
    huge = SourceDocument("huge", "", content=content, media_type=MediaType.PLAIN)
    results, _ = await world.index(
        [MADRID, huge, PARIS], replace(world.options(), chunk_tokens=448)
    )
    by_id = {result.document_id: result.outcome for result in results}
    assert by_id == {"madrid": INDEXED, "huge": FAILED, "paris": INDEXED}


async def test_a_reader_that_does_not_read_stops_the_feeding(world: World) -> None:
    feed = Feed()
    async with aclosing(world.indexer.index(world.options(), feed.documents())) as events:
        await anext(events)
        await at_rest(feed)
        # One was read; results wait, a place each is taken, and one document waits for one.
        assert feed.taken <= 1 + RESULTS_AHEAD + DOCUMENTS_IN_FLIGHT + 1
        await anext(events)


async def test_a_stream_that_is_left_leaves_no_task_behind(world: World) -> None:
    calls = itertools.count()

    async def forever(_: Sequence[str]) -> None:
        if next(calls) > 0:
            await asyncio.Event().wait()

    world.embeddings.before = forever
    before = asyncio.all_tasks()
    feed = Feed()
    async with aclosing(world.indexer.index(world.options(), feed.documents())) as events:
        await anext(events)
    assert asyncio.all_tasks() == before
    assert world.embeddings.running == 0
    assert world.embeddings.cancelled > 0


async def test_a_fatal_error_leaves_no_task_behind(world: World) -> None:
    calls = itertools.count()

    async def some_fail(_: Sequence[str]) -> None:
        if next(calls) == 1:
            raise RemoteError(Reason.MODEL_NOT_FOUND, "There is no such model.")
        await asyncio.Event().wait()

    world.embeddings.before = some_fail
    before = asyncio.all_tasks()
    with pytest.raises(RemoteError):
        await anext(world.indexer.index(world.options(), Feed().documents()))
    assert asyncio.all_tasks() == before
    assert world.embeddings.running == 0


async def test_an_error_of_the_stream_of_documents_reaches_the_reader(world: World) -> None:
    async def breaks() -> AsyncIterator[SourceDocument]:
        yield MADRID
        raise CredentialMissingError("The stream broke.")

    with pytest.raises(CredentialMissingError):
        await world.consume(breaks())


async def test_an_embedding_that_is_killed_leaves_nothing_of_its_document(world: World) -> None:
    reached = asyncio.Event()

    async def stop_at_long(texts: Sequence[str]) -> None:
        if "frase" in texts[0]:
            reached.set()
            await asyncio.Event().wait()

    world.embeddings.before = stop_at_long
    acknowledged = []
    first = asyncio.Event()

    async def one_after_the_other() -> AsyncIterator[SourceDocument]:
        yield MADRID
        await first.wait()
        yield LONG

    async def run() -> None:
        async for event in world.indexer.index(world.options(), one_after_the_other()):
            assert isinstance(event, DocumentResult)
            acknowledged.append(event.document_id)
            first.set()

    task = asyncio.create_task(run())
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert acknowledged == ["madrid"]
    collection = await world.store.get_collection(TENANT, "cities")
    assert collection is not None
    assert (collection.document_count, collection.chunk_count) == (1, 1)


async def test_passages_too_long_for_the_tokenizer_are_cut_smaller(world: World) -> None:
    sizes: list[int] = []

    async def refuse_over_100(texts: Sequence[str]) -> None:
        sizes.append(max(map(len, texts)))
        if sizes[-1] > 100:
            raise RemoteError(Reason.CONTEXT_TOO_LONG, "The text is too long.")

    world.embeddings.before = refuse_over_100
    [result], _ = await world.index([LONG])
    assert result.outcome is INDEXED
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) >= 2
    assert sizes[-1] <= 100


async def test_a_text_that_is_too_long_in_the_smallest_cut_fails_its_document_only(
    world: World,
) -> None:
    world.embeddings.before = failing(Reason.CONTEXT_TOO_LONG, "frase")
    results, _ = await world.index([LONG, MADRID])
    outcomes = {result.document_id: (result.outcome, result.reason) for result in results}
    assert outcomes == {"long": (FAILED, Reason.CONTEXT_TOO_LONG), "madrid": (INDEXED, None)}


async def test_a_document_of_more_passages_than_one_call_takes_is_embedded_in_several(
    world: World,
) -> None:
    # The embedding service takes at most 2048 texts a call; two million characters make more.
    text = " ".join(f"Frase {n} sobre algo." for n in range(9000))
    [result], _ = await world.index(
        [SourceDocument("huge", text)], replace(world.options(), chunk_tokens=16)
    )
    assert (result.outcome, result.detail) == (INDEXED, "")
    assert result.chunk_count > 2048
    assert max(len(texts) for _, texts, _ in world.embeddings.calls) <= 32
    assert Counter(world.embeddings.texts).total() == result.chunk_count


async def test_a_document_that_comes_late_has_no_more_time_than_the_caller(world: World) -> None:
    options = replace(world.options(), time_remaining=5.0)

    async def late() -> AsyncIterator[SourceDocument]:
        yield MADRID
        while not world.embeddings.remaining:  # noqa: ASYNC110 # the fake has no event for it
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        yield PARIS

    async for _ in world.indexer.index(options, late()):
        pass
    first, second = world.embeddings.remaining
    assert second < first - 0.1


async def test_a_stream_keeps_the_snapshot_that_it_began_with(world: World) -> None:
    async def changing() -> AsyncIterator[SourceDocument]:
        yield MADRID
        await asyncio.sleep(0)
        world.configure(defaults={"timeout_seconds": 7.0})
        yield PARIS

    summary = None
    async for event in world.indexer.index(world.options(), changing()):
        if isinstance(event, IndexSummary):
            summary = event
    assert summary is not None
    report = summary.hops[0]
    assert isinstance(report, HopReport)
    assert report.effective.timeout_seconds == 60.0


async def test_a_store_that_fails_fails_its_documents_and_the_stream_goes_on(
    world: World,
) -> None:
    async def close(_: Sequence[str]) -> None:
        await world.store.close()

    world.embeddings.before = close
    results, summary = await world.index([MADRID])
    assert [result.reason for result in results] == [Reason.UPSTREAM_FAILED]
    assert summary.failed == 1


def test_the_options_of_a_stream_have_the_defaults_of_the_contract(world: World) -> None:
    options: IndexOptions = world.options()
    assert (options.chunk_tokens, options.overlap_sentences) == (None, 1)


async def test_vectors_of_one_document_in_two_spaces_are_not_stored(world: World) -> None:
    async def change_after_the_first(_: Sequence[str]) -> None:
        world.embeddings.answers_in = OTHER_SPACE if len(world.embeddings.calls) > 1 else None

    world.embeddings.before = change_after_the_first
    text = " ".join(f"Frase {n} sobre algo." for n in range(600))
    options = replace(world.options(), chunk_tokens=16)
    with pytest.raises(EmbeddingSpaceMismatchError):
        await world.index([SourceDocument("huge", text)], options)
    assert await world.store.get_collection(TENANT, "cities") is None
