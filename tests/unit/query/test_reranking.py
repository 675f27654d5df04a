"""The order by a chat model, through the service over a real store."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from config_core.errors import (
    BudgetSpentError,
    CapabilityUnsupportedError,
    CascadaError,
    CredentialMissingError,
    Reason,
)
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from query.indexing import SourceDocument
from query.providers.model import (
    ChatCall,
    Finished,
    FinishReason,
    ResponseFormat,
    Role,
    TextDelta,
)
from query.retrieval import Retrieval, Retrieved
from service_core.attempts import Outcome
from service_core.trace import HopReport
from service_core.upstream.errors import (
    ContextTooLongError,
    CredentialRejectedError,
    ModelNotFoundError,
    RateLimitedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.usage import Usage
from tests.unit.query.passages import names
from tests.unit.query.world import DONE, MADRID, NOTHING_FOUND, World, hop_of, pieces

CAPITAL = "capital"
OPENAI: dict[str, Any] = {"chat_provider": "openai", "retry_attempts": 0}
ORDERED = Finished(FinishReason.STOP, Usage(40, 5), "some-model-1", "req-9")


def order(world: World, *numbers: int) -> None:
    """Have the model answer with this order."""
    world.openai.script(TextDelta(f'{{"order": {list(numbers)}}}'), ORDERED)


async def ranked(world: World, **options: Any) -> Retrieved:
    values = {**OPENAI, **options.pop("values", {})}
    return await world.search(CAPITAL, rerank=True, values=values, **options)


def chat_reports(hops: Any) -> list[HopReport]:
    return [hop for hop in hops if isinstance(hop, HopReport) and hop.effective.kind == "chat"]


def named(world: World, *expected: str) -> list[int]:
    """The numbers under which the last prompt has these documents' passages."""
    told = pieces(world.openai.calls[-1])
    return [int(told.split(f"] {name.title()}\n")[0].rsplit("[", 1)[1]) for name in expected]


async def test_the_models_order_holds(world: World) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    order(world, 3, 1, 4, 2)
    found = await ranked(world)
    assert names(found.passages) == [before[place] for place in (2, 0, 3, 1)]
    scores = [each.hit.score for each in found.passages]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


async def test_what_the_model_does_not_name_follows_in_the_order_of_the_search(
    world: World,
) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    order(world, 4)
    found = await ranked(world)
    assert names(found.passages) == [before[3], *before[:3]]


@pytest.mark.parametrize("answer", ["", "No.", '{"order": [9, 0]}', '{"order": ['])
async def test_an_answer_without_an_order_changes_none(world: World, answer: str) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    world.openai.script(TextDelta(answer), ORDERED)
    assert names((await ranked(world)).passages) == before


async def test_top_k_are_chosen_from_four_times_as_many(world: World) -> None:
    await world.index(
        [SourceDocument(f"d{n}", f"capital número {n} " * (n + 1), title=f"D{n}") for n in range(9)]
    )
    order(world, 4)
    found = await ranked(world, top_k=1)
    told = pieces(world.openai.calls[-1])
    assert [f"[{number}] D" in told for number in (4, 5)] == [True, False]
    [best] = found.passages
    assert named(world, best.hit.document_id) == [4]


async def test_no_more_than_forty_passages_are_given_to_the_model(world: World) -> None:
    await world.index([SourceDocument(f"d{n}", f"capital {n}") for n in range(60)])
    world.room = replace(world.room, max_context_tokens=8000)
    found = await ranked(world, top_k=50)
    told = pieces(world.openai.calls[-1])
    assert ("[40]" in told, "[41]" in told) == (True, False)
    assert len(found.passages) == 50


async def test_the_model_is_asked_for_json_with_the_requests_own_configuration(
    world: World,
) -> None:
    await world.fill()
    await ranked(world, values={"chat_model": "m", "temperature": 0.5, "max_tokens": 77})
    [call] = world.openai.calls
    assert (call.model, call.options.temperature, call.options.max_tokens) == ("m", 0.5, 77)
    assert call.response_format == ResponseFormat()
    assert call.tools == ()
    assert [message.role for message in call.messages] == [Role.SYSTEM, Role.USER]


async def test_the_callers_stop_sequences_do_not_cut_the_order_and_the_trace_says_so(
    world: World,
) -> None:
    await world.fill()
    found = await ranked(world, values={"stop": ("]",)})
    assert world.openai.calls[0].options.stop == ()
    [report] = chat_reports(found.hops)
    assert report.effective.values.stop is None
    assert [(each.field, each.source) for each in report.effective.dropped] == [
        ("stop", Source.REQUEST)
    ]


async def test_the_trace_has_the_call_with_its_attempts_and_usage(world: World) -> None:
    await world.fill()
    order(world, 1)
    found = await ranked(world)
    assert [hop_of(hop) for hop in found.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
        ("query", "chat"),
    ]
    [report] = chat_reports(found.hops)
    assert (report.usage, report.resolved_model) == (Usage(40, 5), "some-model-1")
    assert report.collections == ("cities",)
    assert [attempt.outcome for attempt in report.attempts] == [Outcome.SUCCEEDED]


def _openai(kind: type[UpstreamError]) -> UpstreamError:
    return kind(ModelProvider.OPENAI, "No.")


def rejected(*, callers: bool) -> UpstreamError:
    return CredentialRejectedError(ModelProvider.OPENAI, "No.", callers=callers, status=401)


@pytest.mark.parametrize(
    "error",
    [
        _openai(UpstreamFailedError),
        _openai(RateLimitedError),
        _openai(ContextTooLongError),
        _openai(UpstreamRejectedError),
        rejected(callers=False),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_where_the_model_fails_the_order_of_the_search_holds_and_the_trace_tells(
    world: World, error: UpstreamError
) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    world.openai.script(error)
    found = await ranked(world)
    assert names(found.passages) == before
    [report] = chat_reports(found.hops)
    assert [attempt.reason for attempt in report.attempts] == [error.code_reason]
    assert report.usage is None


@pytest.mark.parametrize(
    "error", [rejected(callers=True), _openai(ModelNotFoundError)], ids=["key", "model"]
)
async def test_a_wrong_key_or_model_of_the_request_is_its_error(
    world: World, error: UpstreamError
) -> None:
    await world.fill()
    world.openai.script(error)
    with pytest.raises(type(error)) as caught:
        await ranked(world)
    assert [hop_of(hop) for hop in caught.value.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
        ("query", "chat"),
    ]
    [report] = chat_reports(caught.value.hops)
    assert len(report.attempts) == 1


async def test_a_missing_key_is_raised_before_anything_is_called(world: World) -> None:
    await world.fill()
    with pytest.raises(CredentialMissingError) as caught:
        await ranked(world, values={"chat_provider": "groq"})
    assert world.embeddings.calls == []
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "chat")]


async def test_a_failing_model_falls_back_as_any_chat_does(world: World) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    world.openai.script(_openai(UpstreamFailedError))
    world.mistral.script(TextDelta('{"order": [2]}'), ORDERED)
    found = await ranked(world, values={"fallbacks": {"alternatives": [{"provider": "mistral"}]}})
    assert names(found.passages)[0] == before[1]


@pytest.mark.parametrize("ask", ["search", "query", "streamed"])
async def test_the_small_local_model_is_refused_before_anything_is_called(
    world: World, ask: str
) -> None:
    await world.fill()
    calls: dict[str, Any] = {
        "search": lambda: world.search(CAPITAL, rerank=True),
        "query": lambda: world.query(CAPITAL, retrieval=Retrieval(("cities",), rerank=True)),
        "streamed": lambda: world.streamed(CAPITAL, retrieval=Retrieval(("cities",), rerank=True)),
    }
    with pytest.raises(CapabilityUnsupportedError) as caught:
        await calls[ask]()
    assert [found.field for found in caught.value.violations] == ["retrieval.rerank"]
    assert "name another chat provider" in caught.value.message
    assert (world.embeddings.calls, world.local.calls) == ([], [])
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "chat")]


async def test_a_local_model_of_the_operators_own_is_asked(world: World) -> None:
    await world.fill()
    world.small_local_model = False
    before = names((await world.search(CAPITAL)).passages)
    world.local.script(TextDelta('{"order": [2]}'), ORDERED)
    found = await world.search(CAPITAL, rerank=True)
    assert names(found.passages)[0] == before[1]


async def test_the_small_local_model_is_no_alternative_either(world: World) -> None:
    await world.fill()
    world.openai.script(_openai(UpstreamFailedError))
    found = await ranked(world, values={"fallbacks": {"alternatives": [{"provider": "local"}]}})
    assert world.local.calls == []
    [report] = chat_reports(found.hops)
    outcomes = [(attempt.outcome, attempt.reason) for attempt in report.attempts]
    assert outcomes == [
        (Outcome.FAILED, Reason.UPSTREAM_FAILED),
        (Outcome.SKIPPED, Reason.CAPABILITY_UNSUPPORTED),
    ]


LOCAL_THEN_OPENAI: dict[str, Any] = {
    "chat_provider": "local",
    "fallbacks": {
        "alternatives": [{"provider": "openai"}],
        "fallback_on": ["capability_unsupported"],
    },
}


async def test_it_is_passed_over_where_the_request_says_so(world: World) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    order(world, 2)
    found = await ranked(world, values=LOCAL_THEN_OPENAI)
    assert names(found.passages)[0] == before[1]
    assert world.local.calls == []


async def test_an_alternative_does_not_help_unless_the_request_says_so(world: World) -> None:
    await world.fill()
    fallbacks = {"alternatives": [{"provider": "openai"}]}
    with pytest.raises(CapabilityUnsupportedError):
        await ranked(world, values={"chat_provider": "local", "fallbacks": fallbacks})
    assert (world.embeddings.calls, world.openai.calls) == ([], [])


async def test_where_nobody_is_left_to_ask_it_is_refused_all_the_same(world: World) -> None:
    await world.fill()
    fallbacks = {
        "alternatives": [{"provider": "local", "model": "m"}],
        "fallback_on": ["capability_unsupported"],
    }
    with pytest.raises(CapabilityUnsupportedError):
        await ranked(world, values={"chat_provider": "local", "fallbacks": fallbacks})
    assert world.embeddings.calls == []


@pytest.mark.parametrize("documents", [0, 1])
async def test_where_there_is_nothing_to_order_no_model_is_asked(
    world: World, documents: int
) -> None:
    await world.index([SourceDocument(f"d{n}", "capital") for n in range(documents + 1)])
    await world.store.delete_documents("acme", "cities", ["d0"])
    found = await ranked(world)
    assert len(found.passages) == documents
    assert world.openai.calls == []
    assert chat_reports(found.hops) == []


async def test_a_model_that_is_silent_leaves_time_for_the_answer(world: World) -> None:
    await world.fill()
    answering = asyncio.Event()
    complete = world.openai.complete

    async def silent_at_first(call: ChatCall) -> Any:
        if call.response_format is not None:
            answering.set()
            await asyncio.Event().wait()
        return await complete(call)

    world.openai.complete = silent_at_first  # type: ignore[method-assign]
    retrieval = Retrieval(("cities",), rerank=True)
    answer = await world.query(
        CAPITAL, retrieval=retrieval, values={**OPENAI, "timeout_seconds": 0.6}
    )
    assert answering.is_set()
    assert answer.text == "Es Madrid [1]."
    outcomes = [[each.outcome for each in report.attempts] for report in chat_reports(answer.hops)]
    assert outcomes == [[Outcome.FAILED], [Outcome.SUCCEEDED]]


async def test_cancelling_the_search_ends_the_call(world: World) -> None:
    await world.fill()
    world.openai.hold_after = 0
    task = asyncio.create_task(ranked(world))
    await world.openai.called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.openai.open_streams == 0


async def test_a_deadline_that_is_spent_is_the_requests_error(world: World) -> None:
    await world.fill()

    async def slow(_: object) -> None:
        await asyncio.sleep(60)

    world.embeddings.before = slow
    with pytest.raises(BudgetSpentError):
        await ranked(world, values={"timeout_seconds": 0.05})
    assert world.openai.calls == []


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_is_given_from_the_order_and_counts_both_calls(
    world: World, *, streams: bool
) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    order(world, 3)
    world.openai.script(*MADRID)
    retrieval = Retrieval(("cities",), top_k=2, rerank=True)
    if streams:
        answer: Any = (await world.streamed(CAPITAL, retrieval=retrieval, values=OPENAI))[-1]
    else:
        answer = await world.query(CAPITAL, retrieval=retrieval, values=OPENAI)
    assert names(each.passage for each in answer.citations) == [before[2], before[0]]
    assert [report.usage for report in chat_reports(answer.hops)] == [Usage(40, 5), Usage(7, 3)]
    assert answer.usage == Usage(7, 3)


async def test_an_error_of_the_answer_carries_the_order_before_it(world: World) -> None:
    await world.fill()
    order(world, 3)
    world.openai.script(_openai(UpstreamRejectedError))
    with pytest.raises(CascadaError) as caught:
        await world.query(CAPITAL, retrieval=Retrieval(("cities",), rerank=True), values=OPENAI)
    assert [hop_of(hop) for hop in caught.value.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
        ("query", "chat"),
        ("query", "chat"),
    ]


async def test_without_any_passage_nobody_is_asked_to_order_or_to_answer(world: World) -> None:
    await world.index([SourceDocument("d", "capital")])
    await world.store.delete_documents("acme", "cities", ["d"])
    answer = await world.query(
        CAPITAL, retrieval=Retrieval(("cities",), rerank=True), values=OPENAI
    )
    assert (answer.text, world.openai.calls) == (NOTHING_FOUND, [])


async def test_the_order_and_the_choice_by_likeness_go_together(world: World) -> None:
    await world.fill()
    before = names((await world.search(CAPITAL)).passages)
    order(world, 4, 3)
    found = await ranked(world, mmr_lambda=1.0, top_k=2)
    assert names(found.passages) == [before[3], before[2]]


assert DONE.usage != ORDERED.usage
