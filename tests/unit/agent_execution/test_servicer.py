"""Agent execution as a whole: what it passes on to the query service, and what it gives back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.common.v1 import chat_pb2, request_context_pb2, restarted_pb2, retrieval_pb2, usage_pb2
from cascada.config.v1 import configuration_source_pb2 as source
from cascada.config.v1 import configuration_trace_pb2 as trace
from cascada.config.v1 import effective_configuration_pb2, model_preferences_pb2
from cascada.query.v1 import query_service_pb2 as query

from config_core.errors import (
    CascadaError,
    CredentialMissingError,
    InvalidConfigurationError,
    Reason,
    RemoteError,
    Violation,
)
from tests.unit.agent_execution.fake_query import (
    GROQ,
    MISTRAL,
    OPENAI,
    Wire,
    World,
    answer,
    names_by_source,
    serving,
)
from tests.unit.service_core.running import caught, hops_of

Preferences = model_preferences_pb2.ModelPreferences
Retrieval = retrieval_pb2.Retrieval


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving() as found:
        yield found


async def read(world: World, **fields: Any) -> list[pb.StreamExecuteResponse]:
    fields.setdefault("message", "¿Qué tal?")
    call = world.stub.StreamExecute(pb.StreamExecuteRequest(**fields), timeout=20)
    return [event async for event in call]


# --- what is passed on ---------------------------------------------------------------------------

CONVERSATION: dict[str, Any] = {
    "message": "¿Cuál es la capital de Francia?",
    "retrieval": Retrieval(collections=["handbook"], top_k=3, similarity_threshold=0.0),
    "system_prompt": "",
    "history": [chat_pb2.Turn(role="user", text="hola")],
    "tools": [chat_pb2.Tool(name="look")],
    "response_format": chat_pb2.ResponseFormat(),
    "context": request_context_pb2.RequestContext(
        tenant_id="acme", session_id="s", task_id="t", trace_id="r"
    ),
}


@pytest.mark.parametrize("field", CONVERSATION)
@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_a_field_of_the_conversation_arrives_as_it_came(
    field: str, world: World, *, streamed: bool
) -> None:
    if streamed:
        world.query.events = [query.StreamQueryResponse(completed=answer())]
        await read(world, **CONVERSATION)
    else:
        await world.execute(**CONVERSATION)
    sent: Any
    (sent,) = world.query.requests
    expected = query.QueryRequest(**{field: CONVERSATION[field]})
    assert getattr(sent, field) == getattr(expected, field)
    if sent.DESCRIPTOR.fields_by_name[field].has_presence:
        assert sent.HasField(field)


@pytest.mark.parametrize("field", ["system_prompt", "retrieval", "response_format"])
async def test_an_absent_field_of_the_conversation_stays_absent(field: str, world: World) -> None:
    sent: Any = await world.sent()
    assert not sent.HasField(field)


async def test_every_field_of_the_conversation_is_one_that_is_passed_on() -> None:
    fields = {field.name for field in pb.ExecuteRequest.DESCRIPTOR.fields}
    assert fields - set(CONVERSATION) == {"model_preferences", "model_configuration"}


async def test_an_empty_tenant_is_the_default_one_and_a_request_gets_a_trace_id(
    world: World,
) -> None:
    context = (await world.sent()).context
    assert context.tenant_id == "default"
    assert len(context.trace_id) == 32


async def test_the_layers_above_default_are_forwarded_with_their_sources(tmp_path: Path) -> None:
    document = {
        "defaults": {"top_p": 0.5, "provider_configs": {"openai": {"verbosity": "low"}}},
        "tenants": {"acme": {"model_configuration": {"seed": 7}}},
    }
    environ = {"CASCADA_CHAT_PROVIDER": "openai", "CASCADA_MAX_TOKENS": "300"}
    async with serving(environ, document=document, folder=tmp_path) as world:
        sent = await world.sent(
            context=request_context_pb2.RequestContext(tenant_id="acme"),
            model_preferences=Preferences(temperature=0.25),
            model_configuration=Wire(timeout_seconds=9.0),
        )
    assert sent.model_configuration.temperature == 0.25
    assert sent.model_configuration.provider_configs["openai"]["verbosity"] == "low"
    assert names_by_source(sent.provenance) == {
        source.CONFIGURATION_SOURCE_REQUEST: {"timeout_seconds"},
        source.CONFIGURATION_SOURCE_PREFERENCE: {"temperature"},
        source.CONFIGURATION_SOURCE_TENANT: {"seed"},
        source.CONFIGURATION_SOURCE_FILE: {"top_p", "openai.verbosity"},
        source.CONFIGURATION_SOURCE_ENVIRONMENT: {"chat_provider", "max_tokens"},
    }


async def test_built_in_defaults_are_left_to_the_next_service(world: World) -> None:
    sent = await world.sent()
    assert sent.model_configuration == Wire()
    assert not sent.provenance.layers


async def test_zero_is_forwarded_as_zero(world: World) -> None:
    sent = await world.sent(model_configuration=Wire(temperature=0.0, retry_attempts=0))
    assert sent.model_configuration == Wire(temperature=0.0, retry_attempts=0)


async def test_a_locked_value_is_forwarded_and_never_as_locked(tmp_path: Path) -> None:
    document = {"policy": {"locks": {"temperature": 0.5}}}
    async with serving(document=document, folder=tmp_path) as world:
        sent = await world.sent()
    assert sent.model_configuration.temperature == 0.5
    assert names_by_source(sent.provenance) == {source.CONFIGURATION_SOURCE_TENANT: {"temperature"}}


async def test_the_requests_own_chat_key_goes_along(world: World) -> None:
    own = Wire(chat_provider=GROQ, chat_api_key="the-callers-own")
    sent = await world.sent(model_configuration=own)
    assert sent.model_configuration.chat_api_key == "the-callers-own"


OWN_EMBEDDING = Wire(embedding_provider=MISTRAL, embedding_api_key="own-embedding-key")


async def test_nothing_of_embedding_goes_along_without_retrieval(world: World) -> None:
    sent = await world.sent(model_configuration=OWN_EMBEDDING)
    assert sent.model_configuration == Wire()


async def test_the_requests_own_embedding_key_goes_along_with_retrieval(world: World) -> None:
    sent = await world.sent(
        model_configuration=OWN_EMBEDDING, retrieval=Retrieval(collections=["handbook"])
    )
    assert sent.model_configuration == OWN_EMBEDDING


async def test_the_deadline_handed_down_is_smaller_than_the_callers(world: World) -> None:
    await world.stub.Execute(pb.ExecuteRequest(message="hola"), timeout=8)
    assert 0 < world.query.time_left[0] <= 7.96


async def test_timeout_seconds_below_the_callers_deadline_is_handed_down(world: World) -> None:
    await world.execute(model_configuration=Wire(timeout_seconds=5.0))
    assert 0 < world.query.time_left[0] <= 4.96


async def test_a_query_service_that_does_not_answer_is_a_spent_budget(world: World) -> None:
    world.query.hangs = True
    error = await world.failure(model_configuration=Wire(timeout_seconds=0.2))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught(error).code_reason is Reason.BUDGET_SPENT
    assert [hop.service for hop in hops_of(error)] == ["agent-execution"]


# --- preferences ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["groq", "GROQ", "Groq", "  gRoQ "])
async def test_a_provider_is_preferred_in_any_case(name: str, world: World) -> None:
    sent = await world.sent(model_preferences=Preferences(provider=name))
    assert sent.model_configuration.chat_provider == GROQ
    assert names_by_source(sent.provenance) == {
        source.CONFIGURATION_SOURCE_PREFERENCE: {"chat_provider"}
    }


async def test_the_configuration_of_a_request_outranks_its_preferences(world: World) -> None:
    sent = await world.sent(
        model_preferences=Preferences(provider="groq", model="preferred", temperature=0.25),
        model_configuration=Wire(chat_provider=OPENAI, temperature=0.75),
    )
    assert sent.model_configuration.chat_provider == OPENAI
    assert not sent.model_configuration.HasField("chat_model")
    assert sent.model_configuration.temperature == 0.75


async def test_empty_preferences_prefer_nothing(world: World) -> None:
    sent = await world.sent(model_preferences=Preferences())
    assert sent.model_configuration == Wire()


async def test_all_violations_are_named_at_once_before_any_call(world: World) -> None:
    error = await world.failure(
        model_preferences=Preferences(provider="acme", temperature=3.0),
        model_configuration=Wire(retry_attempts=99, chat_api_key="a-key-alone"),
        retrieval=Retrieval(collections=["handbook"]),
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = caught(error)
    assert found.code_reason is Reason.INVALID_CONFIGURATION
    assert {violation.field for violation in found.violations} == {
        "model_preferences.provider",
        "model_preferences.temperature",
        "model_configuration.retry_attempts",
        "model_configuration.chat_api_key",
    }
    assert world.query.requests == []
    assert world.query.lookups == []


async def test_a_context_that_is_too_long_is_refused_before_any_call(world: World) -> None:
    context = request_context_pb2.RequestContext(session_id="s" * 257)
    found = caught(await world.failure(context=context))
    assert [violation.field for violation in found.violations] == ["context.session_id"]
    assert world.query.requests == []


async def test_what_is_wrong_with_the_configuration_is_named_with_the_rest(world: World) -> None:
    found = caught(
        await world.failure(
            context=request_context_pb2.RequestContext(session_id="s" * 257),
            model_preferences=Preferences(temperature=3.0),
            model_configuration=Wire(retry_attempts=99),
        )
    )
    assert found.code_reason is Reason.INVALID_ARGUMENT
    assert {violation.field for violation in found.violations} == {
        "context.session_id",
        "model_preferences.temperature",
        "model_configuration.retry_attempts",
    }
    assert world.query.requests == []


WITH_RETRIEVAL = Retrieval(collections=["handbook"])


async def test_a_lock_on_embedding_refuses_a_request_that_says_otherwise(tmp_path: Path) -> None:
    document = {"policy": {"locks": {"embedding_provider": "openai"}}}
    async with serving(document=document, folder=tmp_path) as world:
        error = await world.failure(
            model_configuration=Wire(embedding_provider=MISTRAL), retrieval=WITH_RETRIEVAL
        )
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert caught(error).code_reason is Reason.POLICY_VIOLATION
    assert caught(error).metadata["rule"] == "policy.locks.embedding_provider"
    assert world.query.requests == []


async def test_an_embedding_provider_that_is_not_allowed_is_refused_before_any_call(
    tmp_path: Path,
) -> None:
    document = {"policy": {"providers": ["local", "openai"]}}
    async with serving(document=document, folder=tmp_path) as world:
        error = await world.failure(
            model_configuration=Wire(embedding_provider=MISTRAL), retrieval=WITH_RETRIEVAL
        )
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert caught(error).metadata["rule"] == "policy.providers"
    assert caught(error).violations[0].field == "model_configuration.embedding_provider"
    assert world.query.requests == []


async def test_embedding_that_the_collections_decide_is_left_to_the_query_service(
    tmp_path: Path,
) -> None:
    # Built in is the local provider, but the collection lives in another one's space.
    document = {"policy": {"providers": ["openai"]}, "defaults": {"chat_provider": "openai"}}
    async with serving(document=document, folder=tmp_path) as world:
        assert await world.sent(retrieval=WITH_RETRIEVAL)


async def test_an_embedding_endpoint_that_is_not_registered_is_refused_and_not_lost(
    world: World,
) -> None:
    error = await world.failure(
        model_configuration=Wire(embedding_endpoint="nowhere"), retrieval=WITH_RETRIEVAL
    )
    assert caught(error).code_reason is Reason.INVALID_CONFIGURATION
    assert caught(error).violations[0].field == "model_configuration.embedding_endpoint"
    assert world.query.requests == []


async def test_what_depends_on_the_collections_space_is_left_to_the_query_service(
    world: World,
) -> None:
    # The local model has 384 dimensions; the collection may live in another space.
    sent = await world.sent(
        model_configuration=Wire(embedding_dimensions=256), retrieval=WITH_RETRIEVAL
    )
    assert sent.model_configuration == Wire(embedding_dimensions=256)


# --- what comes back -----------------------------------------------------------------------------


async def test_the_answer_comes_back_as_it_was_given(world: World) -> None:
    world.query.reply = query.QueryResponse(
        answer="París",
        citations=[retrieval_pb2.Citation(chunk_id="c", document_id="d")],
        tool_calls=[chat_pb2.ToolCall(id="1", name="look", arguments="{}")],
        finish_reason=chat_pb2.FINISH_REASON_STOP,
        usage=usage_pb2.Usage(input_tokens=7, output_tokens=3),
    )
    response = await world.execute()
    response.ClearField("configuration_trace")
    assert response.SerializeToString() == world.query.reply.SerializeToString()


async def test_an_absent_usage_stays_absent(world: World) -> None:
    assert not (await world.execute()).HasField("usage")


async def test_the_trace_has_this_hop_in_front(world: World) -> None:
    response = await world.execute(model_configuration=Wire(temperature=0.5))
    hops = response.configuration_trace.hops
    assert [hop.service for hop in hops] == ["agent-execution", "query"]
    own = hops[0]
    assert own.operation == effective_configuration_pb2.OPERATION_CHAT
    assert own.effective.values.temperature == 0.5
    assert own.effective.sources["temperature"] == source.CONFIGURATION_SOURCE_REQUEST
    assert own.duration.ToNanoseconds() > 0
    assert not own.attempts
    assert not own.HasField("usage")


def _missing() -> CascadaError:
    error = CredentialMissingError("There is no API key for groq.", metadata={"field": "f"})
    error.hops = (trace.HopReport(service="query", collections=["marker"]),)
    return error


def _limited() -> CascadaError:
    return RemoteError(Reason.RATE_LIMITED, "Too many.", metadata={"a": "b"}, retry_after=2.5)


def _invalid() -> CascadaError:
    return InvalidConfigurationError([Violation("model_configuration.seed", "must be less")])


ERRORS = {"credential": _missing, "rate": _limited, "violations": _invalid}


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_passes_unchanged(name: str, world: World, *, streamed: bool) -> None:
    world.query.error = ERRORS[name]
    expected = ERRORS[name]()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (read(world) if streamed else world.execute())
    found = caught(raised.value)
    assert found.code_reason is expected.code_reason
    assert found.message == expected.message
    assert found.metadata == expected.metadata
    assert found.violations == expected.violations
    assert found.retry_after == expected.retry_after


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_an_error_has_the_report_of_this_hop_in_front(
    world: World, *, streamed: bool
) -> None:
    world.query.error = _missing
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (read(world) if streamed else world.execute())
    hops = hops_of(raised.value)
    assert [(hop.service, list(hop.collections)) for hop in hops] == [
        ("agent-execution", []),
        ("query", ["marker"]),
    ]


async def test_a_query_service_that_cannot_be_reached_is_upstream_failed() -> None:
    async with serving(target="127.0.0.1:9") as world:
        error = await world.failure()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert caught(error).code_reason is Reason.UPSTREAM_FAILED
    assert "query service" in caught(error).message
    assert [hop.service for hop in hops_of(error)] == ["agent-execution"]


# --- streams -------------------------------------------------------------------------------------

EVENTS = [
    query.StreamQueryResponse(delta="Pa"),
    query.StreamQueryResponse(restarted=restarted_pb2.Restarted(attempt=2)),
    query.StreamQueryResponse(tool_call_delta=chat_pb2.ToolCallDelta(index=1, name="look")),
    query.StreamQueryResponse(delta="rís"),
]


async def test_events_pass_in_order_as_they_are(world: World) -> None:
    world.query.events = [*EVENTS, query.StreamQueryResponse(completed=answer())]
    *events, last = await read(world)
    assert [event.SerializeToString() for event in events] == [
        event.SerializeToString() for event in EVENTS
    ]
    assert last.completed.answer == "the answer"


async def test_the_completed_event_has_the_report_of_this_hop_in_front(world: World) -> None:
    world.query.events = [query.StreamQueryResponse(completed=answer())]
    (event,) = await read(world)
    hops = event.completed.configuration_trace.hops
    assert [hop.service for hop in hops] == ["agent-execution", "query"]


async def test_an_event_arrives_before_the_stream_has_ended(world: World) -> None:
    world.query.events, world.query.hangs = [query.StreamQueryResponse(delta="Pa")], True
    call = world.stub.StreamExecute(pb.StreamExecuteRequest(message="hola"), timeout=20)
    async for event in call:
        assert event.delta == "Pa"
        call.cancel()
        break


async def test_events_before_an_error_arrive(world: World) -> None:
    world.query.events, world.query.error = EVENTS, _limited
    call = world.stub.StreamExecute(pb.StreamExecuteRequest(message="hola"), timeout=20)
    events = aiter(call)
    got = [await anext(events) for _ in EVENTS]
    assert got[0].delta == "Pa"
    with pytest.raises(grpc.aio.AioRpcError):
        await anext(events)


@pytest.mark.parametrize(
    ("events", "reason"), [(EVENTS[:1], Reason.STREAM_INTERRUPTED), ([], Reason.UPSTREAM_FAILED)]
)
async def test_a_query_service_that_vanishes_interrupts_a_stream_that_has_begun(
    world: World, events: list[query.StreamQueryResponse], reason: Reason
) -> None:
    world.query.events, world.query.vanishes = events, True
    with pytest.raises(grpc.aio.AioRpcError) as caught_error:
        await read(world)
    assert caught_error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught(caught_error.value).code_reason is reason
    assert "Socket closed" not in str(caught_error.value.details())


async def test_a_stream_that_ends_without_its_last_event_is_no_clean_end(world: World) -> None:
    world.query.events = [query.StreamQueryResponse(delta="Pa")]
    with pytest.raises(grpc.aio.AioRpcError) as caught_error:
        await read(world)
    assert caught(caught_error.value).code_reason is Reason.STREAM_INTERRUPTED


async def test_an_event_of_a_kind_unknown_here_is_not_taken_for_the_end(world: World) -> None:
    unknown = query.StreamQueryResponse.FromString(b"\xa2\x06\x01x")  # field 100
    world.query.events = [unknown, query.StreamQueryResponse(completed=answer())]
    (event,) = await read(world)
    assert event.completed.answer == "the answer"


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_cancelling_the_call_cancels_the_call_to_the_query_service(
    world: World, *, streamed: bool
) -> None:
    world.query.hangs = True
    world.query.events = [query.StreamQueryResponse(delta="Pa")]
    task = asyncio.create_task(read(world) if streamed else world.execute())
    await world.query.arrived.wait()
    task.cancel()
    async with asyncio.timeout(20):
        await world.query.cancelled.wait()


async def test_too_many_collections_are_refused_before_any_is_looked_up(world: World) -> None:
    names = [f"c{number}" for number in range(17)]
    found = caught(await world.failure(retrieval=Retrieval(collections=names)))
    assert [wrong.field for wrong in found.violations] == ["retrieval.collections"]
