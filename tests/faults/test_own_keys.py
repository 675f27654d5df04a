"""Whose key it was decides: a caller's says nothing of the operator's connection, nor stands in."""

import asyncio
from pathlib import Path

import grpc
import pytest
from cascada.config.v1.model_configuration_pb2 import Fallback, Fallbacks, ModelConfiguration
from cascada.embedding.v1.embedding_service_pb2 import EmbedRequest

from config_core.convert import provider_to_wire
from config_core.errors import Reason
from config_core.model_configuration import ModelProvider
from service_core.circuit import FAILURES_TO_OPEN
from tests.faults.replies import ASK, CALL_SECONDS
from tests.faults.services import PROVIDERS, Services, endpoints, operator_key, serve
from tests.faults.stage import ByKey
from tests.unit.service_core.running import caught
from tests.upstream.behaviours import Status
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

CALLERS = "sk-callers-own-0123456789"
SPARE = "spare"
ENDPOINTS = {SPARE: ModelProvider.OPENAI, "registered": ModelProvider.OPENAI}

REJECTED = Status(401, "Incorrect API key provided: {key}.")


@pytest.fixture
def stage(upstream: UpstreamServer) -> ByKey:
    """Give an upstream to which the caller's key is a bad one."""
    stage = upstream.choose = ByKey({CALLERS: REJECTED})
    return stage


@pytest.fixture(params=PROVIDERS, ids=str)
def provider(request: pytest.FixtureRequest) -> ModelProvider:
    chosen: ModelProvider = request.param
    return chosen


@pytest.fixture(params=ASK)
def operation(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def own(provider: ModelProvider) -> ModelConfiguration:
    """A request with a key of its own, that may be tried again and has a fallback."""
    return ModelConfiguration(
        chat_provider=provider_to_wire(provider),
        chat_api_key=CALLERS,
        retry_attempts=3,
        timeout_seconds=30,
    )


def with_spare(configuration: ModelConfiguration) -> ModelConfiguration:
    """The same, with one of the operator's connections as its fallback."""
    fallbacks = Fallbacks(alternatives=[Fallback(endpoint=SPARE)])
    configuration.fallbacks.CopyFrom(fallbacks)
    return configuration


def operators(provider: ModelProvider) -> ModelConfiguration:
    """A request on the operator's account."""
    return ModelConfiguration(chat_provider=provider_to_wire(provider), retry_attempts=3)


async def test_a_callers_bad_key_is_refused_at_once(
    provider: ModelProvider, operation: str, services: Services, stage: ByKey
) -> None:
    reply = await ASK[operation](services, "hola", own(provider))
    assert (reply.code, reply.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        Reason.CALLER_CREDENTIAL_REJECTED,
    )
    assert len(stage.arrivals[CALLERS]) == 1
    assert CALLERS not in reply.shown


@pytest.mark.parametrize("fault", [REJECTED, Status(403), Status(503)], ids=["401", "403", "503"])
async def test_what_a_callers_key_meets_never_opens_the_circuit(
    fault: Status, provider: ModelProvider, services: Services, stage: ByKey
) -> None:
    stage.behaviours[CALLERS] = fault
    configuration = own(provider)
    configuration.retry_attempts = 0
    asked = [ASK["chat"](services, "hola", configuration) for _ in range(2 * FAILURES_TO_OPEN)]
    await asyncio.gather(*asked)
    assert len(stage.arrivals[CALLERS]) == len(asked)
    assert not services.sample(
        "cascada_circuit_state", service="query", provider=provider.value, endpoint=""
    )
    answer = await ASK["chat"](services, "hola", operators(provider))
    assert answer.text == Content().text


async def test_an_open_circuit_holds_no_caller_with_a_key_of_its_own_back(
    provider: ModelProvider, services: Services, stage: ByKey
) -> None:
    stage.behaviours = {operator_key(provider): Status(503)}
    configuration = operators(provider)
    configuration.retry_attempts = 0
    for _ in range(FAILURES_TO_OPEN):
        await ASK["chat"](services, "hola", configuration)
    labels = {"service": "query", "provider": provider.value, "endpoint": ""}
    assert services.sample("cascada_circuit_state", **labels) > 0
    answer = await ASK["chat"](services, "hola", own(provider))
    assert answer.text == Content().text


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_the_operators_refused_key_falls_back_at_once(
    status: int, provider: ModelProvider, operation: str, services: Services, stage: ByKey
) -> None:
    stage.behaviours[operator_key(provider)] = Status(status)
    reply = await ASK[operation](services, "hola", with_spare(operators(provider)))
    assert reply.text == Content().text
    assert len(stage.arrivals[operator_key(provider)]) == 1
    assert len(stage.arrivals[operator_key(SPARE)]) == 1


@pytest.mark.parametrize("fault", [REJECTED, Status(503), Status(429)], ids=["401", "503", "429"])
async def test_a_request_with_its_own_key_never_falls_back_to_the_operators(
    fault: Status, provider: ModelProvider, operation: str, services: Services, stage: ByKey
) -> None:
    stage.behaviours[CALLERS] = fault
    configuration = with_spare(own(provider))
    configuration.retry_attempts = 0
    reply = await ASK[operation](services, "hola", configuration)
    assert reply.code is not grpc.StatusCode.OK
    assert set(stage.arrivals) <= {CALLERS}


async def test_a_request_with_its_own_key_falls_back_to_another_key_of_its_own(
    provider: ModelProvider, operation: str, services: Services, stage: ByKey
) -> None:
    stage.behaviours[CALLERS] = Status(503)
    configuration = own(provider)
    configuration.retry_attempts = 0
    other = Fallback(endpoint="registered", api_key="sk-callers-other-0123456789")
    configuration.fallbacks.CopyFrom(Fallbacks(alternatives=[other]))
    reply = await ASK[operation](services, "hola", configuration)
    assert reply.text == Content().text
    assert set(stage.arrivals) == {CALLERS, "sk-callers-other-0123456789"}


@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "by policy"])
async def test_the_operators_connection_stands_in_only_where_policy_says_so(
    allowed: bool,  # noqa: FBT001 # a parameter
    provider: ModelProvider,
    operation: str,
    tmp_path: Path,
    upstream: UpstreamServer,
    stage: ByKey,
) -> None:
    stage.behaviours[CALLERS] = Status(503)
    file = endpoints({SPARE: (ModelProvider.OPENAI, upstream.url(ModelProvider.OPENAI))})
    file["policy"] = {"operator_fallback": allowed}
    configuration = with_spare(own(provider))
    configuration.retry_attempts = 0
    async with serve(tmp_path, upstream, file) as services:
        await ASK[operation](services, "hola", configuration)
    assert set(stage.arrivals) == {CALLERS, *([operator_key(SPARE)] if allowed else [])}


async def test_fallbacks_of_the_file_are_not_for_a_request_with_its_own_key(
    provider: ModelProvider,
    operation: str,
    tmp_path: Path,
    upstream: UpstreamServer,
    stage: ByKey,
) -> None:
    stage.behaviours[CALLERS] = Status(503)
    file = endpoints({SPARE: (ModelProvider.OPENAI, upstream.url(ModelProvider.OPENAI))})
    file["defaults"] = {
        "chat_provider": provider.value,
        "fallbacks": {"alternatives": [{"endpoint": SPARE}]},
    }
    configuration = own(provider)
    configuration.retry_attempts = 0
    async with serve(tmp_path, upstream, file) as services:
        await ASK[operation](services, "hola", configuration)
    assert set(stage.arrivals) == {CALLERS}


@pytest.mark.parametrize("provider", [ModelProvider.OPENAI, ModelProvider.MISTRAL], ids=str)
async def test_a_callers_bad_key_for_embeddings_is_refused_at_once_and_opens_nothing(
    provider: ModelProvider, services: Services, stage: ByKey
) -> None:
    configuration = ModelConfiguration(
        embedding_provider=provider_to_wire(provider),
        embedding_model="some-embedder",
        embedding_api_key=CALLERS,
        retry_attempts=3,
    )
    request = EmbedRequest(texts=["hola"], model_configuration=configuration)
    for _ in range(2 * FAILURES_TO_OPEN):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await services.embedding.Embed(request, timeout=CALL_SECONDS)
        assert caught(raised.value).code_reason is Reason.CALLER_CREDENTIAL_REJECTED
    assert len(stage.arrivals[CALLERS]) == 2 * FAILURES_TO_OPEN
    request.model_configuration.ClearField("embedding_api_key")
    response = await services.embedding.Embed(request, timeout=CALL_SECONDS)
    assert len(response.embeddings) == 1
