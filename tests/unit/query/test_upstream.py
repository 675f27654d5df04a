"""What goes to each provider and comes back, through the query service as its app builds it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.common.v1 import chat_pb2
from cascada.config.v1 import (
    configuration_service_pb2,
    configuration_trace_pb2,
    model_configuration_pb2,
)
from cascada.config.v1.configuration_service_pb2_grpc import ConfigurationServiceStub
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from google.protobuf import json_format

from config_core.capabilities import provider_options
from config_core.convert import provider_to_wire
from config_core.model_configuration import KEYED_PROVIDERS, ModelProvider
from query import app
from tests.unit.service_core.running import caught, hops_of, running
from tests.upstream.behaviours import Answer, Status
from tests.upstream.formats import Content, Wish
from tests.upstream.server import UpstreamServer

WISHES = (Wish("call00001", "weather", '{"city": "Lima"}'), Wish("call00002", "now", "{}"))
TOOLS = [{"name": "weather", "parameters": {"type": "object"}}, {"name": "now"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "number", "minimum": -90}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
ASKED = {"role": "user", "text": "¿Qué tiempo hace en Lima?"}
CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": wish.id, "name": wish.name, "arguments": wish.arguments}
                   for wish in WISHES],
}  # fmt: skip
RESULTS = [
    {"role": "tool", "text": "21 °C", "tool_call_id": "call00001"},
    {"role": "tool", "text": "10:00", "tool_call_id": "call00002"},
]


class Client:
    """Asks one provider, in one piece or as a stream."""

    def __init__(self, channel: grpc.aio.Channel, provider: ModelProvider, *, stream: bool) -> None:
        self.channel = channel
        self.stream = stream
        self.provider = provider
        self._stub: QueryServiceStub = QueryServiceStub(channel)

    async def ask(self, message: str = "Hola", **fields: Any) -> pb.QueryResponse:
        """Ask, and give the whole answer; `configuration` is the request's layer."""
        own = {"chat_provider": f"MODEL_PROVIDER_{self.provider.name}"}
        request: dict[str, Any] = {
            "message": message,
            "model_configuration": own | fields.pop("configuration", {}),
            **fields,
        }
        if not self.stream:
            return await self._stub.Query(
                json_format.ParseDict(request, pb.QueryRequest()), timeout=20
            )
        asked = json_format.ParseDict(request, pb.StreamQueryRequest())
        events = [event async for event in self._stub.StreamQuery(asked, timeout=20)]
        return events[-1].completed

    async def failure(self, message: str = "Hola", **fields: Any) -> grpc.aio.AioRpcError:
        """Ask, and give the error that has to come."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.ask(message, **fields)
        return raised.value


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest.fixture(params=KEYED_PROVIDERS, ids=str)
def provider(request: pytest.FixtureRequest) -> ModelProvider:
    chosen: ModelProvider = request.param
    return chosen


@pytest.fixture(params=[False, True], ids=["unary", "stream"])
async def client(
    request: pytest.FixtureRequest,
    provider: ModelProvider,
    upstream: UpstreamServer,
    tmp_path: Path,
) -> AsyncIterator[Client]:
    environ = {
        "CASCADA_CHAT_PROVIDER": "openai",
        "CASCADA_DATA_DIR": str(tmp_path),
        "CASCADA_RETRY_ATTEMPTS": "0",
    }
    for name in KEYED_PROVIDERS:
        environ[f"{name.name}_API_KEY"] = f"key-of-{name}-0123456789"
        environ[f"{name.name}_BASE_URL"] = upstream.url(name)
    async with running(app.build, environ) as service:
        yield Client(service.channel, provider, stream=request.param)


def _attempts(answer: pb.QueryResponse) -> list[configuration_trace_pb2.Attempt]:
    return list(answer.configuration_trace.hops[-1].attempts)


async def test_the_models_wish_for_tools_reaches_the_caller(
    client: Client, upstream: UpstreamServer
) -> None:
    upstream.default = Answer(Content((), WISHES, "tool_calls"))
    answer = await client.ask(tools=TOOLS)
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [
        (wish.id, wish.name, wish.arguments) for wish in WISHES
    ]
    assert answer.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS
    sent = upstream.requests[0].body["tools"]
    assert [tool["function"]["name"] for tool in sent] == ["weather", "now"]
    assert sent[1]["function"]["parameters"] == {"type": "object", "properties": {}}


async def test_the_model_goes_on_from_the_results_of_its_tools(
    client: Client, upstream: UpstreamServer
) -> None:
    answer = await client.ask("", tools=TOOLS, history=[ASKED, CALLED, *RESULTS])
    assert answer.answer == Content().text
    messages = upstream.requests[0].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert messages[0]["content"] == ASKED["text"]
    assert [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in messages[1]["tool_calls"]
    ] == [(wish.id, wish.name, wish.arguments) for wish in WISHES]
    assert [(turn["tool_call_id"], turn["content"]) for turn in messages[2:]] == [
        ("call00001", "21 °C"),
        ("call00002", "10:00"),
    ]


async def test_a_tool_call_of_another_provider_can_be_gone_on_from(
    client: Client, upstream: UpstreamServer
) -> None:
    long = "call_9hYkqrDHcZLnWJvMTZQ4dAbx"
    call = {"id": long, "name": "now", "arguments": "{}"}
    turns = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "text": "10:00", "tool_call_id": long},
    ]
    await client.ask("", tools=TOOLS, history=[ASKED, *turns])
    _, assistant, result = upstream.requests[0].body["messages"]
    sent = assistant["tool_calls"][0]["id"]
    assert result["tool_call_id"] == sent
    if client.provider is ModelProvider.MISTRAL:  # takes nine letters and digits only
        assert re.fullmatch("[A-Za-z0-9]{9}", sent)
    else:
        assert sent == long


async def test_earlier_tools_stay_in_the_conversation(
    client: Client, upstream: UpstreamServer
) -> None:
    said = {"role": "assistant", "text": "Hace 21 °C."}
    await client.ask("¿Y mañana?", history=[ASKED, CALLED, *RESULTS, said])
    roles = [message["role"] for message in upstream.requests[0].body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]


async def test_an_answer_in_the_form_of_a_schema_can_be_asked_for(
    client: Client, upstream: UpstreamServer
) -> None:
    upstream.default = Answer(Content(('{"city": "Lima", ', '"degrees": 21}')))
    schema = {"name": "weather", "schema": SCHEMA, "strict": False}
    answer = await client.ask(response_format={"json_schema": schema})
    assert answer.answer == '{"city": "Lima", "degrees": 21}'
    assert upstream.requests[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": schema,
    }


async def test_each_option_goes_by_the_name_that_the_provider_knows(
    client: Client, upstream: UpstreamServer
) -> None:
    penalties = {} if client.provider is ModelProvider.GROQ else {
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
    }  # fmt: skip
    options = {"temperature": 0.0, "top_p": 0.5, **penalties}
    await client.ask(
        configuration={
            **options,
            "max_tokens": 9,
            "seed": 7,
            "stop": {"sequences": ["FIN", "END"]},
        }
    )
    sent = upstream.requests[0].body
    assert {name: sent[name] for name in options} == options
    assert sent["stop"] == ["FIN", "END"]
    names = {
        ModelProvider.OPENAI: ("max_tokens", "seed"),  # not OpenAI itself: an address of ours
        ModelProvider.GROQ: ("max_completion_tokens", "seed"),
        ModelProvider.MISTRAL: ("max_tokens", "random_seed"),
    }
    max_tokens, seed = names[client.provider]
    assert (sent[max_tokens], sent[seed]) == (9, 7)


OWN_OPTIONS: dict[ModelProvider, dict[str, Any]] = {
    ModelProvider.OPENAI: {
        "logit_bias": {"50256": -100},
        "metadata": {"team": "sales"},
        "parallel_tool_calls": False,
        "prompt_cache_retention": "24h",
        "reasoning_effort": "low",
        "safety_identifier": "ann",
        "service_tier": "flex",
        "store": False,
        "verbosity": "low",
    },
    ModelProvider.GROQ: {
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "reasoning_format": "hidden",
        "service_tier": "flex",
        "user": "ann",
    },
    ModelProvider.MISTRAL: {
        "parallel_tool_calls": False,
        "prompt_mode": "reasoning",
        "safe_prompt": True,
    },
}


async def test_every_option_of_provider_configs_that_is_listed_is_sent(
    client: Client, upstream: UpstreamServer
) -> None:
    own = OWN_OPTIONS[client.provider]
    assert own.keys() == provider_options(client.provider, "chat").keys()
    await client.ask(configuration={"provider_configs": {client.provider.value: own}})
    sent = upstream.requests[0].body
    assert {name: sent.get(name) for name in own} == own


async def test_the_options_of_other_providers_and_operations_are_not_sent(
    client: Client, upstream: UpstreamServer
) -> None:
    others = {name.value: OWN_OPTIONS[name] for name in KEYED_PROVIDERS if name != client.provider}
    if client.provider is ModelProvider.OPENAI:
        others["openai"] = {"user": "ann"}  # of its embeddings
    await client.ask(configuration={"provider_configs": others})
    plain = {"model", "messages", "temperature", "stream", "stream_options"}
    assert set(upstream.requests[0].body) - plain <= {"max_tokens", "max_completion_tokens"}


async def test_usage_and_the_providers_request_id_come_with_the_answer(client: Client) -> None:
    answer = await client.ask()
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    assert [attempt.upstream_request_id for attempt in _attempts(answer)] == ["req-42"]


async def test_a_refused_attempt_has_the_providers_request_id_too(
    client: Client, upstream: UpstreamServer
) -> None:
    upstream.default = Status(422, "Odd.")
    (attempt,) = hops_of(await client.failure())[-1].attempts
    assert (attempt.status, attempt.upstream_request_id) == (422, "req-42")


@pytest.mark.parametrize("provider", [ModelProvider.OPENAI, ModelProvider.MISTRAL])
async def test_what_a_fallback_cannot_take_is_dropped_and_reported(
    client: Client, upstream: UpstreamServer
) -> None:
    upstream.script(Status(500))
    alternative = {"provider": "MODEL_PROVIDER_GROQ", "model": "some-model"}
    number = model_configuration_pb2.ModelConfiguration.PRESENCE_PENALTY_FIELD_NUMBER
    provenance = {"layers": [{"source": "CONFIGURATION_SOURCE_FILE", "fields": [number]}]}
    answer = await client.ask(
        configuration={
            "presence_penalty": 1.0,
            "fallbacks": {"alternatives": [alternative]},
        },
        provenance=provenance,
    )
    first, second = upstream.requests
    assert first.body["presence_penalty"] == 1.0
    assert second.provider is ModelProvider.GROQ
    assert "presence_penalty" not in second.body
    (dropped,) = answer.configuration_trace.hops[-1].effective.dropped
    assert dropped.field == "fallbacks.alternatives[0].presence_penalty"


async def test_the_service_tells_the_circuits_of_what_it_has_called(client: Client) -> None:
    await client.ask()
    capabilities = await ConfigurationServiceStub(client.channel).ListCapabilities(
        configuration_service_pb2.ListCapabilitiesRequest(), timeout=20
    )
    circuits = {row.provider: row.circuit for row in capabilities.providers}
    called = circuits.pop(provider_to_wire(client.provider))
    assert called == configuration_service_pb2.CIRCUIT_STATE_CLOSED
    assert set(circuits.values()) == {configuration_service_pb2.CIRCUIT_STATE_UNSPECIFIED}


async def test_a_model_that_goes_on_needs_the_turn_that_led_there(client: Client) -> None:
    error = await client.failure("", history=[CALLED, *RESULTS])
    assert [violation.field for violation in caught(error).violations] == ["history"]


async def test_without_a_message_there_has_to_be_a_tools_turn_last(client: Client) -> None:
    error = await client.failure(" ", history=[ASKED, CALLED, *RESULTS, ASKED])
    assert [violation.field for violation in caught(error).violations] == ["message"]
