"""The embedding service as a whole: over gRPC in front, over HTTP to providers behind."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.common.v1 import request_context_pb2
from cascada.config.v1 import (
    configuration_service_pb2,
    effective_configuration_pb2,
    model_configuration_pb2,
    model_provider_pb2,
    provenance_pb2,
)
from cascada.config.v1 import configuration_source_pb2 as source
from cascada.config.v1 import configuration_trace_pb2 as trace
from cascada.config.v1.configuration_service_pb2_grpc import ConfigurationServiceStub
from cascada.embedding.v1 import embedding_service_pb2 as pb
from cascada.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

from config_core.errors import Reason
from config_core.model_configuration import ModelProvider
from embedding import app
from service_core.request_context import Peers
from tests.unit.service_core.running import (
    FromElsewhere,
    Running,
    Strangers,
    all_of,
    caught,
    hops_of,
    running,
)
from tests.upstream.behaviours import Answer, Raw, Silence, Status
from tests.upstream.exchange import Received
from tests.upstream.faults import VECTOR_FAULTS
from tests.upstream.formats import embeddings, vector
from tests.upstream.server import UpstreamServer

OPENAI, MISTRAL = ModelProvider.OPENAI, ModelProvider.MISTRAL
OPENAI_KEY, MISTRAL_KEY = "sk-operators-openai-0123456789", "operators-mistral-0123456789"
CALLERS_KEY = "sk-the-callers-own-0123456789"

Wire = model_configuration_pb2.ModelConfiguration
WIRE_OPENAI = model_provider_pb2.MODEL_PROVIDER_OPENAI
WIRE_MISTRAL = model_provider_pb2.MODEL_PROVIDER_MISTRAL


@dataclass
class World:
    """The service, and one server for each provider that it may call."""

    service: Running
    openai: UpstreamServer
    mistral: UpstreamServer

    async def embed(self, *texts: str, timeout: float = 20, **fields: Any) -> pb.EmbedResponse:  # noqa: ASYNC109 # gRPC's own
        stub = pb_grpc.EmbeddingServiceStub(self.service.channel)
        return await stub.Embed(pb.EmbedRequest(texts=texts, **fields), timeout=timeout)

    async def failure(self, *texts: str, **fields: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.embed(*texts, **fields)
        return raised.value


@asynccontextmanager
async def serving(
    environ: Mapping[str, str] | None = None, peers: Peers | None = None
) -> AsyncIterator[World]:
    async with UpstreamServer() as openai, UpstreamServer() as mistral:
        variables = {
            "OPENAI_API_KEY": OPENAI_KEY,
            "OPENAI_BASE_URL": openai.url(OPENAI),
            "MISTRAL_API_KEY": MISTRAL_KEY,
            "MISTRAL_BASE_URL": mistral.url(MISTRAL),
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_EMBEDDING_MODEL": "some-model",
            "CASCADA_RETRY_ATTEMPTS": "0",
            **(environ or {}),
        }
        async with running(app.build, variables, peers) as service:
            yield World(service, openai, mistral)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving() as found:
        yield found


def decoded(response: pb.EmbedResponse) -> list[list[float]]:
    """The vectors as numbers, by the decoding that the contract documents."""
    length = response.space.dimensions
    return [list(struct.unpack(f"<{length}f", packed)) for packed in response.embeddings]


def only(hops: Sequence[trace.HopReport]) -> trace.HopReport:
    (hop,) = hops
    return hop


# --- vectors -------------------------------------------------------------------------------------


async def test_each_text_gets_its_vector_in_the_order_of_the_texts(world: World) -> None:
    texts = ("hola", "你好", "hello 🌍")
    assert decoded(await world.embed(*texts)) == [vector(text) for text in texts]


async def test_order_holds_over_batches_that_end_in_another_order(world: World) -> None:
    texts = [f"text {number}" for number in range(300)]
    world.mistral.choose = lambda received: Answer(
        delay=0.1 if received.body["input"][0] == "text 0" else 0.0
    )
    response = await world.embed(
        *texts,
        model_configuration=Wire(embedding_provider=WIRE_MISTRAL, embedding_model="other-model"),
    )
    assert decoded(response) == [vector(text) for text in texts]
    sizes = sorted(len(received.body["input"]) for received in world.mistral.requests)
    assert sizes == [44, 128, 128]
    assert response.usage.input_tokens == 15  # 5 a call
    assert len(only(response.configuration_trace.hops).attempts) == 3


async def test_dimensions_that_the_model_can_cut_to_are_asked_for_and_come(world: World) -> None:
    configuration = Wire(embedding_model="text-embedding-3-small", embedding_dimensions=256)
    response = await world.embed("hola", model_configuration=configuration)
    assert world.openai.requests[0].body["dimensions"] == 256
    assert response.space.dimensions == 256
    assert decoded(response) == [vector("hola", 256)]


async def test_of_the_providers_own_options_those_of_embeddings_are_sent(world: World) -> None:
    configuration = Wire(embedding_provider=WIRE_OPENAI)
    configuration.provider_configs["openai"].update({"user": "ann", "store": True})
    await world.embed("hola", model_configuration=configuration)
    sent = world.openai.requests[0].body
    assert sent["user"] == "ann"
    assert "store" not in sent


async def test_the_service_tells_the_circuits_of_what_it_has_called(world: World) -> None:
    await world.embed("hola")
    capabilities = await ConfigurationServiceStub(world.service.channel).ListCapabilities(
        configuration_service_pb2.ListCapabilitiesRequest(), timeout=20
    )
    circuits = {row.provider: row.circuit for row in capabilities.providers}
    assert circuits[WIRE_OPENAI] == configuration_service_pb2.CIRCUIT_STATE_CLOSED
    assert circuits[WIRE_MISTRAL] == configuration_service_pb2.CIRCUIT_STATE_UNSPECIFIED


async def test_dimensions_are_left_out_where_nothing_asks_for_them(world: World) -> None:
    await world.embed("hola")
    assert "dimensions" not in world.openai.requests[0].body


async def test_a_model_with_fixed_dimensions_refuses_others_before_any_call(world: World) -> None:
    configuration = Wire(embedding_model="text-embedding-ada-002", embedding_dimensions=256)
    error = await world.failure("hola", model_configuration=configuration)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught(error).code_reason is Reason.CAPABILITY_UNSUPPORTED
    assert world.openai.requests == []


async def test_a_provider_without_embeddings_is_refused_before_any_call(world: World) -> None:
    configuration = Wire(embedding_provider=model_provider_pb2.MODEL_PROVIDER_GROQ)
    error = await world.failure("hola", model_configuration=configuration)
    assert caught(error).code_reason is Reason.CAPABILITY_UNSUPPORTED


@pytest.mark.parametrize("fault", ["a vector is missing", "a vector too many", "no vectors"])
async def test_a_wrong_number_of_vectors_is_upstream_failed(fault: str, world: World) -> None:
    world.openai.default = VECTOR_FAULTS[fault]
    error = await world.failure("hola", "adiós")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert caught(error).code_reason is Reason.UPSTREAM_FAILED


async def test_vectors_of_another_length_than_the_models_are_upstream_failed(world: World) -> None:
    # This upstream gives 8 numbers where none are asked for; the model is known to give 1536.
    configuration = Wire(embedding_model="text-embedding-3-small")
    error = await world.failure("hola", model_configuration=configuration)
    assert caught(error).code_reason is Reason.UPSTREAM_FAILED
    assert "8 dimensions instead of 1536" in caught(error).message


async def test_batches_with_vectors_of_different_lengths_are_upstream_failed(world: World) -> None:
    def of_length(received: Received) -> Raw:
        texts = received.body["input"]
        vectors = [vector(text, 8 if texts[0] == "t0" else 16) for text in texts]
        return Raw(json.dumps(embeddings(received.body, vectors)).encode())

    world.mistral.choose = of_length
    error = await world.failure(
        *(f"t{number}" for number in range(130)),
        model_configuration=Wire(embedding_provider=WIRE_MISTRAL, embedding_model="other-model"),
    )
    assert caught(error).code_reason is Reason.UPSTREAM_FAILED


# --- what is refused -----------------------------------------------------------------------------


async def test_every_text_that_cannot_be_embedded_is_named_by_its_index(world: World) -> None:
    error = await world.failure("good", "", "good", " \t\n", "x" * 100_001)
    found = caught(error)
    assert found.code_reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in found.violations] == [
        "texts[1]",
        "texts[3]",
        "texts[4]",
    ]
    assert world.openai.requests == []


@pytest.mark.parametrize("count", [0, 2049])
async def test_a_number_of_texts_outside_the_limits_is_refused(count: int, world: World) -> None:
    found = caught(await world.failure(*["text"] * count))
    assert [violation.field for violation in found.violations] == ["texts"]
    assert str(count) in found.message
    assert world.openai.requests == []


async def test_as_many_texts_as_the_limit_are_embedded(world: World) -> None:
    assert len((await world.embed(*["text"] * 2048)).embeddings) == 2048


async def test_a_text_as_long_as_the_limit_is_embedded(world: World) -> None:
    assert len((await world.embed("x" * 100_000)).embeddings) == 1


async def test_everything_that_is_wrong_outside_the_configuration_is_named_at_once(
    world: World,
) -> None:
    context = request_context_pb2.RequestContext(tenant_id="t" * 129)
    found = caught(await world.failure("", context=context, input_kind=17))
    fields = [violation.field for violation in found.violations]
    assert fields == ["texts[0]", "context.tenant_id", "input_kind"]


async def test_what_is_wrong_with_the_configuration_is_named_with_the_rest(world: World) -> None:
    wrong = Wire(retry_attempts=99)
    found = caught(await world.failure("", model_configuration=wrong))
    assert found.code_reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in found.violations] == [
        "texts[0]",
        "model_configuration.retry_attempts",
    ]
    assert world.openai.requests == []


async def test_violations_of_the_configuration_come_before_any_call(world: World) -> None:
    error = await world.failure("hola", model_configuration=Wire(retry_attempts=99))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught(error).code_reason is Reason.INVALID_CONFIGURATION
    assert world.openai.requests == []


# --- provenance ----------------------------------------------------------------------------------


def said(layer: source.ConfigurationSource.ValueType, *fields: str) -> provenance_pb2.Provenance:
    numbers = [Wire.DESCRIPTOR.fields_by_name[name].number for name in fields]
    return provenance_pb2.Provenance(
        layers=[provenance_pb2.ProvenanceLayer(source=layer, fields=numbers)]
    )


FORWARDED = Wire(embedding_provider=WIRE_OPENAI, embedding_model="sent")


async def source_of_model(world: World, provenance: provenance_pb2.Provenance | None) -> int:
    response = await world.embed("hola", model_configuration=FORWARDED, provenance=provenance)
    assert world.openai.requests[-1].body["model"] == "sent"
    return only(response.configuration_trace.hops).effective.sources["embedding_model"]


async def test_without_provenance_a_field_is_the_requests(world: World) -> None:
    assert await source_of_model(world, None) == source.CONFIGURATION_SOURCE_REQUEST


async def test_the_provenance_of_a_caller_on_this_host_is_honoured(world: World) -> None:
    told = said(source.CONFIGURATION_SOURCE_TENANT, "embedding_provider", "embedding_model")
    assert await source_of_model(world, told) == source.CONFIGURATION_SOURCE_TENANT


async def test_locked_is_never_believed_from_the_wire(world: World) -> None:
    told = said(source.CONFIGURATION_SOURCE_LOCKED, "embedding_provider", "embedding_model")
    assert await source_of_model(world, told) == source.CONFIGURATION_SOURCE_REQUEST


async def test_the_provenance_of_a_stranger_is_not_honoured() -> None:
    async with serving(peers=Strangers()) as world:
        told = said(source.CONFIGURATION_SOURCE_TENANT, "embedding_provider", "embedding_model")
        assert await source_of_model(world, told) == source.CONFIGURATION_SOURCE_REQUEST


def sent_connection(world: World) -> provenance_pb2.Provenance:
    told = said(source.CONFIGURATION_SOURCE_FILE, "embedding_provider", "embedding_model")
    told.connections.add(
        provider=WIRE_OPENAI,
        base_url=world.mistral.url(OPENAI),
        private=True,
        api_key="sk-forwarded-0123456789",
        source=source.CONFIGURATION_SOURCE_FILE,
        operation=effective_configuration_pb2.OPERATION_EMBEDDING,
    )
    return told


async def test_a_forwarded_connection_is_called_with_its_own_key_at_its_own_address(
    world: World,
) -> None:
    await world.embed("hola", model_configuration=FORWARDED, provenance=sent_connection(world))
    assert [received.key for received in world.mistral.requests] == ["sk-forwarded-0123456789"]
    assert world.openai.requests == []


async def test_a_connection_forwarded_by_a_stranger_is_refused() -> None:
    async with serving(peers=Strangers()) as world:
        error = await world.failure(
            "hola", model_configuration=FORWARDED, provenance=sent_connection(world)
        )
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert world.mistral.requests == world.openai.requests == []


async def test_a_raw_key_does_not_enter_unencrypted_from_elsewhere() -> None:
    own = Wire(embedding_provider=WIRE_OPENAI, embedding_api_key=CALLERS_KEY)
    async with serving(peers=FromElsewhere()) as world:
        error = await world.failure("hola", model_configuration=own)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert world.openai.requests == []
    assert CALLERS_KEY not in all_of(error)


# --- keys ----------------------------------------------------------------------------------------


async def test_each_operators_key_goes_to_its_own_provider_only(world: World) -> None:
    await world.embed("hola")
    other = Wire(embedding_provider=WIRE_MISTRAL, embedding_model="other-model")
    await world.embed("hola", model_configuration=other)
    assert [received.key for received in world.openai.requests] == [OPENAI_KEY]
    assert [received.key for received in world.mistral.requests] == [MISTRAL_KEY]


async def test_a_callers_key_replaces_the_operators_for_its_own_provider_only(
    world: World,
) -> None:
    own = Wire(embedding_provider=WIRE_OPENAI, embedding_api_key=CALLERS_KEY)
    await world.embed("hola", model_configuration=own)
    await world.embed("hola")
    assert [received.key for received in world.openai.requests] == [CALLERS_KEY, OPENAI_KEY]
    assert world.mistral.requests == []


async def test_no_key_to_be_had_is_credential_missing_and_names_what_would_supply_one() -> None:
    async with serving({"OPENAI_API_KEY": ""}) as world:
        error = await world.failure("hola")
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught(error).code_reason is Reason.CREDENTIAL_MISSING
        assert "OPENAI_API_KEY" in caught(error).message
        assert "embedding_api_key" in caught(error).message
        assert world.openai.requests == []


ECHOES = {
    "401": Status(401, "Incorrect API key provided: {key}."),
    "400": Status(400, "{key} is not allowed to do this."),
    "404": Status(404, "{key} has no such model.", code="model_not_found"),
    "500": Status(500, "{key} broke the server."),
}


@pytest.mark.parametrize("echo", ECHOES)
async def test_a_key_that_the_provider_echoes_is_nowhere_in_the_error(
    echo: str, world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    world.openai.default = ECHOES[echo]
    operators = await world.failure("hola")
    own = Wire(embedding_provider=WIRE_OPENAI, embedding_api_key=CALLERS_KEY)
    callers = await world.failure("hola", model_configuration=own)
    output = capsys.readouterr()
    seen = f"{all_of(operators)} {all_of(callers)} {caplog.text} {output.out} {output.err}"
    assert OPENAI_KEY not in seen
    assert CALLERS_KEY not in seen


@dataclass(frozen=True)
class EchoingModel:
    """Answers well, under a model's name that holds the key."""

    async def respond(self, exchange: Any) -> Any:
        answer = Answer().data(exchange)
        return exchange.json({**answer, "model": f"model-of-{exchange.received.key}"})


async def test_a_key_in_the_name_of_the_model_that_answered_is_not_in_the_trace(
    world: World,
) -> None:
    world.openai.default = EchoingModel()
    response = await world.embed("hola")
    assert len(response.embeddings) == 1
    assert OPENAI_KEY not in str(response)


async def test_whose_key_was_rejected_decides_the_reason(world: World) -> None:
    world.openai.default = Status(401)
    own = Wire(embedding_provider=WIRE_OPENAI, embedding_api_key=CALLERS_KEY)
    callers = await world.failure("hola", model_configuration=own)
    operators = await world.failure("hola")
    assert caught(callers).code_reason is Reason.CALLER_CREDENTIAL_REJECTED
    assert caught(operators).code_reason is Reason.UPSTREAM_CREDENTIAL_REJECTED


# --- the trace -----------------------------------------------------------------------------------


async def test_the_trace_says_what_ran_and_where_each_value_came_from(world: World) -> None:
    response = await world.embed("hola", model_configuration=Wire(timeout_seconds=7.0))
    hop = only(response.configuration_trace.hops)
    assert hop.service == "embedding"
    assert hop.operation == effective_configuration_pb2.OPERATION_EMBEDDING
    effective = hop.effective
    assert effective.values == Wire(
        embedding_provider=WIRE_OPENAI,
        embedding_model="some-model",
        timeout_seconds=7.0,
        retry_attempts=0,
    )
    assert dict(effective.sources) == {
        "embedding_provider": source.CONFIGURATION_SOURCE_ENVIRONMENT,
        "embedding_model": source.CONFIGURATION_SOURCE_ENVIRONMENT,
        "timeout_seconds": source.CONFIGURATION_SOURCE_REQUEST,
        "retry_attempts": source.CONFIGURATION_SOURCE_ENVIRONMENT,
    }
    assert (effective.requested_model, effective.resolved_model) == ("some-model", "some-model")
    assert effective.credential_source == source.CONFIGURATION_SOURCE_ENVIRONMENT
    assert effective.embedding_space == response.space
    assert (len(effective.digest), len(effective.snapshot_version)) == (64, 16)
    assert hop.usage.input_tokens == 5
    assert hop.duration.ToNanoseconds() > 0


async def test_the_trace_has_the_attempt_with_the_providers_request_id(world: World) -> None:
    response = await world.embed("hola")
    (attempt,) = only(response.configuration_trace.hops).attempts
    assert attempt.outcome == trace.ATTEMPT_OUTCOME_SUCCEEDED
    assert (attempt.provider, attempt.model) == (WIRE_OPENAI, "some-model")
    assert attempt.upstream_request_id == "req-42"


async def test_an_error_carries_the_trace_with_every_attempt() -> None:
    async with serving({"CASCADA_RETRY_ATTEMPTS": "1"}) as world:
        world.openai.default = Status(500)
        error = await world.failure("hola")
    hop = only(hops_of(error))
    assert hop.service == "embedding"
    assert [(entry.outcome, entry.status) for entry in hop.attempts] == [
        (trace.ATTEMPT_OUTCOME_FAILED, 500)
    ] * 2
    assert caught(error).metadata["attempts"] == "2"


async def test_fingerprints_are_shown_of_a_callers_key_and_not_of_the_operators() -> None:
    async with serving({"CASCADA_FINGERPRINT_KEY": "the key of the fingerprints"}) as world:
        operators = await world.embed("hola")
        own = Wire(embedding_provider=WIRE_OPENAI, embedding_api_key=CALLERS_KEY)
        callers = await world.embed("hola", model_configuration=own)
    assert not only(operators.configuration_trace.hops).effective.key_fingerprints
    shown = only(callers.configuration_trace.hops).effective.key_fingerprints
    assert len(shown["embedding"]) == 12
    assert CALLERS_KEY not in str(callers)


# --- time ----------------------------------------------------------------------------------------


async def test_silence_ends_at_timeout_seconds_with_the_attempts(world: World) -> None:
    world.openai.default = Silence()
    error = await world.failure("hola", model_configuration=Wire(timeout_seconds=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught(error).code_reason is Reason.BUDGET_SPENT
    assert caught(error).metadata["attempts"] == "1"
    assert len(only(hops_of(error)).attempts) == 1


async def test_cancelling_the_call_cancels_the_providers_request(world: World) -> None:
    world.openai.default = Silence()
    call = asyncio.create_task(world.embed("hola"))
    received = await world.openai.received()
    call.cancel()
    async with asyncio.timeout(20):
        await received.over.wait()
    assert received.left


# --- hot reload ----------------------------------------------------------------------------------


def write(path: Path, model: str) -> None:
    defaults = {"embedding_provider": "openai", "embedding_model": model}
    path.write_text(json.dumps({"defaults": defaults}), encoding="utf-8")


@dataclass(frozen=True)
class Held:
    """Answers well once the gate opens."""

    gate: asyncio.Event

    async def respond(self, exchange: Any) -> Any:
        await self.gate.wait()
        return await Answer().respond(exchange)


async def test_a_change_of_the_file_holds_for_the_next_request_and_not_for_one_in_flight(
    tmp_path: Path,
) -> None:
    path, gate = tmp_path / "cascada.json", asyncio.Event()
    write(path, "old-model")
    async with serving({"CASCADA_CONFIG_FILE": str(path)}) as world:
        world.openai.script(Held(gate))
        in_flight = asyncio.create_task(world.embed(*["text"] * 2048))
        await world.openai.received()
        write(path, "new-model")
        assert world.service.snapshots.reload()
        after = await world.embed("hola")
        gate.set()
        before = await in_flight
    models = [
        only(response.configuration_trace.hops).effective.values.embedding_model
        for response in (before, after)
    ]
    versions = {
        only(response.configuration_trace.hops).effective.snapshot_version
        for response in (before, after)
    }
    assert models == ["old-model", "new-model"]
    assert len(versions) == 2


async def test_a_request_in_flight_sends_its_later_batches_by_its_own_snapshot(
    tmp_path: Path,
) -> None:
    path, gate = tmp_path / "cascada.json", asyncio.Event()
    write(path, "old-model")
    async with serving({"CASCADA_CONFIG_FILE": str(path)}) as world:
        world.openai.script(*[Held(gate)] * 4)
        # A text of 100,000 bytes counts as 50,001 tokens, so that five go into one call.
        in_flight = asyncio.create_task(world.embed(*["x" * 100_000] * 30))
        await world.openai.received(4)
        write(path, "new-model")
        world.service.snapshots.reload()
        gate.set()
        await in_flight
    assert {received.body["model"] for received in world.openai.requests} == {"old-model"}
    assert len(world.openai.requests) == 6


async def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    write(path, "old-model")
    async with serving({"CASCADA_CONFIG_FILE": str(path)}) as world:
        path.write_text('{"defaults": {"embedding_model": 17}}', encoding="utf-8")
        assert not world.service.snapshots.reload()
        response = await world.embed("hola")
    effective = only(response.configuration_trace.hops).effective
    assert effective.values.embedding_model == "old-model"
