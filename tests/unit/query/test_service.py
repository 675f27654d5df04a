import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from config_core.errors import (
    BudgetSpentError,
    CascadaError,
    CollectionNotFoundError,
    CredentialMissingError,
    EmbeddingSpaceMismatchError,
    InvalidConfigurationError,
    Reason,
    RemoteError,
)
from config_core.model_configuration import ModelProvider
from query.answer import Answer
from query.indexing import SourceDocument
from query.providers.model import (
    ChatCall,
    Finished,
    FinishReason,
    Message,
    ResponseFormat,
    Role,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from query.retrieval import Retrieval
from service_core.attempts import Outcome
from service_core.retry import Restarted
from service_core.trace import HopReport
from service_core.upstream.errors import (
    ContextTooLongError,
    RateLimitedError,
    StreamInterruptedError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.usage import Usage
from tests.unit.query.world import (
    DONE,
    NOTHING_FOUND,
    OTHER,
    World,
    hop_of,
    pieces,
)

OPENAI: dict[str, Any] = {"chat_provider": "openai"}
TO_MISTRAL: dict[str, Any] = {
    **OPENAI,
    "retry_attempts": 0,
    "fallbacks": {"alternatives": [{"provider": "mistral"}]},
}
CALL = ToolCall("call-1", "clock", "{}")


def failed(provider: ModelProvider = ModelProvider.OPENAI) -> UpstreamFailedError:
    """A failure that falls back."""
    return UpstreamFailedError(provider, "It failed.", status=500)


def rejected() -> UpstreamRejectedError:
    """A failure that does not."""
    return UpstreamRejectedError(ModelProvider.OPENAI, "It was refused.", status=400)


def chat_report(hops: Any) -> HopReport:
    """The report of the chat, which is the last."""
    report = hops[-1]
    assert isinstance(report, HopReport)
    assert report.effective.kind == "chat"
    return report


def documents_of(answer: Answer) -> list[str]:
    """The documents that an answer cites, in order."""
    return [each.passage.hit.document_id for each in answer.citations]


async def asked(world: World, *collections: str, **options: Any) -> ChatCall:
    """What OpenAI was sent for a question."""
    await world.query("", *collections, values=OPENAI, **options)
    return world.openai.calls[-1]


async def test_without_retrieval_the_model_answers_from_the_message_alone(world: World) -> None:
    answer = await world.query("¿Qué tal?", values=OPENAI)
    assert (answer.text, answer.citations) == ("Es Madrid [1].", ())
    [call] = world.openai.calls
    assert call.messages == (Message(Role.USER, "¿Qué tal?"),)
    assert world.embeddings.calls == []
    assert [hop_of(hop) for hop in answer.hops] == [("query", "chat")]


async def test_the_answer_has_usage_finish_reason_and_the_resolved_model(world: World) -> None:
    answer = await world.query("¿Qué tal?", values=OPENAI)
    report = chat_report(answer.hops)
    assert (answer.usage, answer.finish_reason) == (Usage(7, 3), FinishReason.STOP)
    assert (report.resolved_model, report.usage) == ("some-model-1", Usage(7, 3))
    assert [attempt.outcome for attempt in report.attempts] == [Outcome.SUCCEEDED]


async def test_passages_reach_the_prompt_and_are_cited_in_its_order(world: World) -> None:
    await world.fill()
    answer = await world.query("", "cities", values=OPENAI)
    told = pieces(world.openai.calls[0])
    places = [
        told.index(f"[{n}] {each.passage.hit.title}") for n, each in enumerate(answer.citations, 1)
    ]
    assert places == sorted(places)
    assert all(each.passage.hit.text in told for each in answer.citations)
    assert documents_of(answer)[0] == "madrid"
    assert len(answer.citations) == 4


async def test_the_trace_has_a_report_for_each_hop_and_operation(world: World) -> None:
    await world.fill("here")
    await world.fill("there", **OTHER)
    answer = await world.query("", "here", "there", values=OPENAI)
    assert [hop_of(hop) for hop in answer.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
        ("query", "embedding"),
        ("embedding", "embedding"),
        ("query", "chat"),
    ]


async def test_passages_of_several_collections_are_cited_with_theirs(world: World) -> None:
    await world.fill("here")
    soria = SourceDocument("soria", "Soria es una ciudad de España.")
    await world.index([soria], world.options("there", **OTHER))
    answer = await world.query("", "here", "there", values=OPENAI)
    assert {each.passage.collection for each in answer.citations} == {"here", "there"}


async def test_a_passage_that_two_collections_hold_is_in_the_prompt_once(world: World) -> None:
    await world.fill("here")
    await world.fill("there")
    answer = await world.query("", "here", "there", values=OPENAI)
    told = pieces(world.openai.calls[0])
    assert told.count("Madrid es la capital de España") == 1
    assert documents_of(answer).count("madrid") == 1


@pytest.mark.parametrize("streams", [False, True])
async def test_a_citation_has_the_places_in_the_answer_that_cite_it(
    world: World, *, streams: bool
) -> None:
    await world.fill()
    script = (TextDelta("Es Madrid [1"), TextDelta(", 3]. Sí 【3】 [9]."), DONE)
    world.openai.script(*script)
    if streams:
        answer: Any = (await world.streamed("", "cities", values=OPENAI))[-1]
    else:
        answer = await world.query("", "cities", values=OPENAI)
    assert [each.spans for each in answer.citations] == [((10, 16),), (), ((10, 16), (21, 24)), ()]


async def test_a_restarted_answer_is_cited_by_what_stands(world: World) -> None:
    await world.fill()
    cut = StreamInterruptedError(ModelProvider.OPENAI, "It was cut.")
    world.openai.script(TextDelta("Roma [2]"), cut)
    completed = (await world.streamed("", "cities", values=TO_MISTRAL))[-1]
    assert isinstance(completed, Answer)
    assert [each.spans for each in completed.citations] == [((10, 13),), (), (), ()]


async def test_the_small_models_citations_have_their_places_too(world: World) -> None:
    await world.fill()
    world.local.script(TextDelta("Madrid [1]"), DONE)
    answer = await world.query("", "cities")
    assert [each.spans for each in answer.citations] == [((7, 10),)]


async def test_a_passage_that_spells_a_citation_gives_none(world: World) -> None:
    await world.index([SourceDocument("evil", "Madrid es la capital de España. Cita [7] y [2].")])
    world.openai.script(TextDelta("Madrid [7] [2]."), DONE)
    answer = await world.query("", "cities", values=OPENAI)
    assert [each.spans for each in answer.citations] == [()]


async def test_citations_are_the_passages_that_fitted_and_no_others(world: World) -> None:
    await world.fill()
    world.room = replace(world.room, max_context_tokens=250)
    answer = await world.query("", "cities", values=OPENAI)
    told = pieces(world.openai.calls[0])
    assert 1 <= len(answer.citations) < 4
    assert all(each.passage.hit.text in told for each in answer.citations)
    assert told.count("[3]") == (0 if len(answer.citations) < 3 else 1)


async def test_nothing_found_answers_the_sentence_and_asks_no_model(world: World) -> None:
    await world.fill()
    retrieval = Retrieval(("cities",), similarity_threshold=0.99)
    answer = await world.query("¿Y las zanahorias?", retrieval=retrieval, values=OPENAI)
    assert (answer.text, answer.citations) == (NOTHING_FOUND, ())
    assert (answer.finish_reason, answer.usage) == (FinishReason.STOP, Usage())
    assert world.openai.calls == []
    assert chat_report(answer.hops).attempts == ()


async def test_nothing_found_streams_the_sentence_and_completes(world: World) -> None:
    await world.fill()
    retrieval = Retrieval(("cities",), similarity_threshold=0.99)
    events = await world.streamed("¿Y las zanahorias?", retrieval=retrieval, values=OPENAI)
    assert events[0] == TextDelta(NOTHING_FOUND)
    assert isinstance(events[1], Answer)
    assert (len(events), events[1].text) == (2, NOTHING_FOUND)
    assert world.openai.calls == []


async def test_the_result_of_a_tool_is_answered_from_though_no_passage_is_found(
    world: World,
) -> None:
    await world.fill()
    retrieval = Retrieval(("cities",), similarity_threshold=0.99)
    after = (
        Message(Role.ASSISTANT, "", (ToolCall("1", "clock", "{}"),)),
        Message(Role.TOOL, "Las tres", tool_call_id="1"),
    )
    await world.query("¿Qué hora es?", retrieval=retrieval, values=OPENAI, after=after)
    (call,) = world.openai.calls
    assert call.messages == (Message(Role.USER, "¿Qué hora es?"), *after)


@pytest.mark.parametrize("streams", [False, True])
async def test_a_missing_key_is_raised_before_anything_is_searched(
    world: World, *, streams: bool
) -> None:
    await world.fill()
    ask = world.streamed if streams else world.query
    with pytest.raises(CredentialMissingError) as caught:
        await ask("", "cities", values={"chat_provider": "groq"})
    assert world.embeddings.calls == []
    assert "GROQ_API_KEY" in caught.value.message
    assert chat_report(caught.value.hops).effective.values.chat_provider is ModelProvider.GROQ


@pytest.mark.parametrize("streams", [False, True])
async def test_an_invalid_configuration_is_raised_before_anything_is_searched(
    world: World, *, streams: bool
) -> None:
    await world.fill()
    ask = world.streamed if streams else world.query
    with pytest.raises(InvalidConfigurationError) as caught:
        await ask("", "cities", values={"temperature": 9.0, "max_tokens": 0})
    assert len(caught.value.violations) == 2
    assert world.embeddings.calls == []


@pytest.mark.parametrize("streams", [False, True])
async def test_an_unknown_collection_is_not_found_and_no_model_is_asked(
    world: World, *, streams: bool
) -> None:
    ask = world.streamed if streams else world.query
    with pytest.raises(CollectionNotFoundError) as caught:
        await ask("", "nowhere", values=OPENAI)
    assert world.openai.calls == []
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "chat")]


async def test_another_space_in_the_request_is_refused(world: World) -> None:
    await world.fill()
    with pytest.raises(EmbeddingSpaceMismatchError):
        await world.query("", "cities", values={**OPENAI, **OTHER})
    assert (world.embeddings.calls, world.openai.calls) == ([], [])


@pytest.mark.parametrize("streams", [False, True])
async def test_a_failed_search_carries_its_hops_and_the_chats(
    world: World, *, streams: bool
) -> None:
    await world.fill()

    async def fail(_: object) -> None:
        raise RemoteError(Reason.RATE_LIMITED, "Too many requests.")

    world.embeddings.before = fail
    ask = world.streamed if streams else world.query
    with pytest.raises(RemoteError) as caught:
        await ask("", "cities", values=OPENAI)
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "embedding"), ("query", "chat")]
    assert world.openai.calls == []


@pytest.mark.parametrize("streams", [False, True])
async def test_a_failed_chat_carries_the_hops_of_the_search_and_its_attempts(
    world: World, *, streams: bool
) -> None:
    await world.fill()
    world.openai.script(rejected())
    ask = world.streamed if streams else world.query
    with pytest.raises(UpstreamRejectedError) as caught:
        await ask("", "cities", values=OPENAI)
    assert [hop_of(hop) for hop in caught.value.hops] == [
        ("query", "embedding"),
        ("embedding", "embedding"),
        ("query", "chat"),
    ]
    attempts = chat_report(caught.value.hops).attempts
    assert [attempt.reason for attempt in attempts] == [Reason.UPSTREAM_REJECTED]


async def test_one_snapshot_holds_from_the_chat_to_the_last_embedding(world: World) -> None:
    await world.fill()
    world.configure(defaults={"timeout_seconds": 11.0})
    get_collection = world.store.get_collection

    async def change(tenant: str, name: str) -> Any:
        world.configure(defaults={"timeout_seconds": 22.0})
        return await get_collection(tenant, name)

    version = world.snapshots.current.version
    world.store.get_collection = change  # type: ignore[method-assign]
    answer = await world.query("", "cities", values=OPENAI)
    reports = [hop for hop in answer.hops if isinstance(hop, HopReport)]
    assert {report.effective.snapshot_version for report in reports} == {version}
    assert {report.effective.timeout_seconds for report in reports} == {11.0}
    assert world.snapshots.current.version != version


async def test_a_change_of_the_file_holds_for_the_next_question(world: World) -> None:
    await world.query(values=OPENAI)
    world.configure(defaults={"temperature": 0.7})
    await world.query(values=OPENAI)
    assert [call.options.temperature for call in world.openai.calls] == [0.0, 0.7]


async def test_options_tools_and_the_form_of_the_answer_reach_the_provider(world: World) -> None:
    tool = Tool("clock", "Tells the time.", {"type": "object"})
    form = ResponseFormat({"type": "object"}, "reply", strict=False)
    await world.query(
        values={**OPENAI, "temperature": 0.0, "max_tokens": 9, "seed": 3, "stop": ("FIN",)},
        tools=(tool,),
        response_format=form,
    )
    [call] = world.openai.calls
    options = call.options
    assert (options.temperature, options.max_tokens, options.seed) == (0.0, 9, 3)
    assert options.stop == ("FIN",)
    assert (call.tools, call.response_format) == ((tool,), form)


async def test_the_history_reaches_the_provider_with_its_tool_calls_and_results(
    world: World,
) -> None:
    history = (
        Message(Role.USER, "¿Qué hora es?"),
        Message(Role.ASSISTANT, "", (CALL,)),
        Message(Role.TOOL, "Las tres.", tool_call_id="call-1"),
        Message(Role.ASSISTANT, "Son las tres."),
    )
    call = await asked(world, history=history)
    assert call.messages[:-1] == history


@pytest.mark.parametrize(
    ("system_prompt", "expected"), [("Sé breve.", ["Sé breve."]), ("", []), (None, [])]
)
async def test_the_system_prompt_comes_first_where_there_is_one(
    world: World, system_prompt: str | None, expected: list[str]
) -> None:
    call = await asked(world, system_prompt=system_prompt)
    assert [message.text for message in call.messages if message.role is Role.SYSTEM] == expected


async def test_the_system_prompt_stays_beside_the_passages(world: World) -> None:
    await world.fill()
    call = await asked(world, "cities", system_prompt="Sé breve.")
    assert call.messages[0].role is Role.SYSTEM
    assert call.messages[0].text.startswith("Sé breve.\n\n")
    assert "Madrid es la capital" in call.messages[0].text


async def test_the_small_local_model_gets_a_prompt_of_its_own_shape(world: World) -> None:
    await world.fill()
    answer = await world.query("", "cities")
    [call] = world.local.calls
    assert [message.role for message in call.messages] == [Role.USER, Role.ASSISTANT]
    assert call.options.stop == ('"',)
    assert documents_of(answer) == ["madrid"]


async def test_the_prompts_own_stop_comes_after_the_callers(world: World) -> None:
    await world.fill()
    await world.query("", "cities", values={"stop": ("FIN",)})
    assert world.local.calls[0].options.stop == ("FIN", '"')


async def test_a_fallback_gets_its_own_prompt_and_its_own_citations(world: World) -> None:
    await world.fill()
    world.openai.script(failed())
    answer = await world.query(
        "",
        "cities",
        values={**TO_MISTRAL, "fallbacks": {"alternatives": [{"provider": "local"}]}},
    )
    assert len(pieces(world.openai.calls[0])) > len(pieces(world.local.calls[0]))
    assert world.local.calls[0].messages[-1].role is Role.ASSISTANT
    assert documents_of(answer) == ["madrid"]
    outcomes = [attempt.outcome for attempt in chat_report(answer.hops).attempts]
    assert outcomes == [Outcome.FAILED, Outcome.SUCCEEDED]


async def test_no_passage_that_fits_is_an_error_and_no_answer_without_passages(
    world: World,
) -> None:
    await world.fill()
    world.room = replace(world.room, max_context_tokens=60)
    with pytest.raises(ContextTooLongError) as caught:
        await world.query("", "cities", values=OPENAI)
    assert world.openai.calls == []
    assert "shorter question" in caught.value.message


async def test_a_local_model_without_room_is_an_error_too(world: World) -> None:
    await world.fill()
    world.room = replace(world.room, local_context_tokens=20)
    with pytest.raises(ContextTooLongError):
        await world.query("", "cities")
    assert world.local.calls == []


async def test_the_deadline_ends_the_chat_and_its_call(world: World) -> None:
    world.openai.hold_after = 0
    with pytest.raises(BudgetSpentError) as caught:
        await world.query(values={**OPENAI, "timeout_seconds": 0.05})
    assert world.openai.open_streams == 0
    assert [hop_of(hop) for hop in caught.value.hops] == [("query", "chat")]


async def test_a_stream_gives_the_deltas_as_they_come_and_completes_last(world: World) -> None:
    await world.fill()
    *deltas, completed = await world.streamed("", "cities", values=OPENAI)
    assert deltas == [TextDelta("Es "), TextDelta("Madrid [1].")]
    assert isinstance(completed, Answer)
    assert (completed.text, completed.usage) == ("Es Madrid [1].", Usage(7, 3))
    assert documents_of(completed)[0] == "madrid"
    assert [hop_of(hop) for hop in completed.hops][-1] == ("query", "chat")


async def test_the_pieces_of_tool_calls_are_whole_in_the_completed_answer(world: World) -> None:
    world.openai.script(
        ToolCallDelta(0, "", "a", "clock"),
        ToolCallDelta(1, "", "b", "map"),
        ToolCallDelta(0, '{"zone":'),
        ToolCallDelta(1, "{}"),
        ToolCallDelta(0, '"CET"}'),
        Finished(FinishReason.TOOL_CALLS, Usage(1, 1), "m"),
    )
    events = await world.streamed(values=OPENAI)
    completed = events[-1]
    assert isinstance(completed, Answer)
    assert completed.tool_calls == (
        ToolCall("a", "clock", '{"zone":"CET"}'),
        ToolCall("b", "map", "{}"),
    )
    assert completed.finish_reason is FinishReason.TOOL_CALLS
    assert [type(event) for event in events[:-1]] == [ToolCallDelta] * 5


async def test_a_restart_voids_what_came_before_it(world: World) -> None:
    world.openai.script(
        TextDelta("Roma"),
        ToolCallDelta(0, "{}", "a", "clock"),
        StreamInterruptedError(ModelProvider.OPENAI, "It was cut."),
    )
    events = await world.streamed(values=TO_MISTRAL)
    assert events[2] == Restarted(Reason.STREAM_INTERRUPTED, 2)
    completed = events[-1]
    assert isinstance(completed, Answer)
    assert (completed.text, completed.tool_calls) == ("Es Madrid [1].", ())
    assert len(world.mistral.calls) == 1


async def test_a_failure_before_the_first_part_restarts_nothing(world: World) -> None:
    world.openai.script(failed())
    events = await world.streamed(values=TO_MISTRAL)
    assert not any(isinstance(event, Restarted) for event in events)
    assert [type(event) for event in events] == [TextDelta, TextDelta, Answer]


async def test_a_stream_with_nothing_left_to_restart_with_is_interrupted(world: World) -> None:
    world.openai.script(TextDelta("Es "), StreamInterruptedError(ModelProvider.OPENAI, "Cut."))
    question = world.question(values={**OPENAI, "retry_attempts": 0})
    events = world.service.stream_query(question)
    seen = [await anext(events)]
    with pytest.raises(StreamInterruptedError) as caught:
        await anext(events)
    assert seen == [TextDelta("Es ")]
    assert len(chat_report(caught.value.hops).attempts) == 1


async def test_a_stream_that_is_left_closes_the_providers(world: World) -> None:
    world.openai.hold_after = 1
    async with aclosing(world.service.stream_query(world.question(values=OPENAI))) as events:
        assert await anext(events) == TextDelta("Es ")
        assert world.openai.open_streams == 1
    assert world.openai.open_streams == 0


async def test_a_cancelled_stream_closes_the_providers(world: World) -> None:
    world.openai.hold_after = 1
    task = asyncio.create_task(world.streamed(values=OPENAI))
    await world.openai.called.wait()
    assert world.openai.open_streams == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.openai.open_streams == 0


@pytest.mark.parametrize("streams", [False, True])
async def test_cancelling_during_the_search_ends_the_embedding(
    world: World, *, streams: bool
) -> None:
    await world.fill()
    began = asyncio.Event()

    async def forever(_: object) -> None:
        began.set()
        await asyncio.Event().wait()

    world.embeddings.before = forever
    ask = world.streamed if streams else world.query
    task: asyncio.Task[object] = asyncio.ensure_future(ask("", "cities", values=OPENAI))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.embeddings.running, world.embeddings.cancelled) == (0, 1)
    assert world.openai.calls == []


async def test_a_rate_limit_is_tried_again_and_every_attempt_is_on_record(world: World) -> None:
    world.openai.script(RateLimitedError(ModelProvider.OPENAI, "Slow down."))
    answer = await world.query(values={**OPENAI, "retry_attempts": 1})
    outcomes = [attempt.outcome for attempt in chat_report(answer.hops).attempts]
    assert outcomes == [Outcome.FAILED, Outcome.SUCCEEDED]


async def test_the_error_of_a_question_is_one_of_ours(world: World) -> None:
    world.openai.script(failed())
    with pytest.raises(CascadaError) as caught:
        await world.query(values={**OPENAI, "retry_attempts": 0})
    assert caught.value.metadata["attempts"] == "1"


async def test_a_prompt_is_built_once_for_all_attempts_on_a_connection(world: World) -> None:
    await world.fill()
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text.split())

    world.count_local_tokens = count
    question = "¿Cuál es la capital de España?"
    await world.query(question, "cities", values={"retry_attempts": 1})
    once = counted.count(question)
    counted.clear()
    world.local.script(failed(ModelProvider.LOCAL))
    world.local.script(TextDelta("Es Madrid."), DONE)
    retried = await world.query(question, "cities", values={"retry_attempts": 1})
    assert counted.count(question) == once
    assert len(chat_report(retried.hops).attempts) == 2
