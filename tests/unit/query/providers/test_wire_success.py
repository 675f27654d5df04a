"""What goes out and what comes back when the provider behaves."""

import dataclasses
import json
from collections.abc import Mapping

import pytest
from pydantic import JsonValue

from config_core.connection import PUBLIC_BASE_URL
from config_core.model_configuration import ModelProvider
from query.providers.model import (
    ChatCall,
    ChatOptions,
    Finished,
    FinishReason,
    Message,
    ResponseFormat,
    Role,
    StreamPart,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from query.providers.openai import OpenAIChat
from query.providers.wire_chat import WireChat
from service_core.upstream.clients import ClientPool
from service_core.usage import Usage
from tests.upstream.behaviours import Answer
from tests.upstream.formats import Content, Wish
from tests.upstream.server import UpstreamServer

TEXT = "Hola, ¿qué tal? 你好 🌍"
SCHEMA: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
WISHES = (
    Wish("call_1", "weather", '{"city": "São Paulo"}'),
    Wish("call_2", "time", '{"zone": "CET"}'),
)


async def _parts(chat: WireChat, call: ChatCall) -> list[StreamPart]:
    return [part async for part in chat.stream(call)]


async def test_a_whole_answer_has_text_usage_model_and_request_id(
    chat: WireChat, call: ChatCall
) -> None:
    result = await chat.complete(call)
    assert result.text == TEXT
    assert result.finish_reason is FinishReason.STOP
    assert result.usage == Usage(7, 3)
    assert (result.model, result.request_id) == ("some-model", "req-42")


async def test_a_stream_gives_each_piece_and_then_its_end(chat: WireChat, call: ChatCall) -> None:
    parts = await _parts(chat, call)
    assert parts == [
        *(TextDelta(piece) for piece in ("Hola, ", "¿qué ", "tal? ", "你好 ", "🌍")),
        Finished(FinishReason.STOP, Usage(7, 3), "some-model", "req-42"),
    ]


async def test_tool_calls_come_back_whole(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    upstream.default = Answer(Content((), WISHES, "tool_calls"))
    result = await chat.complete(call)
    assert result.tool_calls == tuple(ToolCall(w.id, w.name, w.arguments) for w in WISHES)
    assert result.finish_reason is FinishReason.TOOL_CALLS
    assert result.text == ""


async def test_tool_calls_of_a_stream_keep_their_places(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    upstream.default = Answer(Content((), WISHES, "tool_calls"))
    deltas = [part for part in await _parts(chat, call) if isinstance(part, ToolCallDelta)]
    for index, wish in enumerate(WISHES):
        own = [delta for delta in deltas if delta.index == index]
        assert "".join(delta.arguments for delta in own) == wish.arguments
        assert (own[0].id, own[0].name) == (wish.id, wish.name)
        assert all((delta.id, delta.name) == ("", "") for delta in own[1:])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("some_new_reason", FinishReason.UNKNOWN),
    ],
)
async def test_finish_reasons_are_mapped(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, theirs: str, ours: FinishReason
) -> None:
    upstream.default = Answer(Content(finish_reason=theirs))
    assert (await chat.complete(call)).finish_reason is ours
    last = (await _parts(chat, call))[-1]
    assert isinstance(last, Finished)
    assert last.finish_reason is ours


FULL_OPTIONS = ChatOptions(
    temperature=0.0,
    max_tokens=50,
    top_p=0.5,
    frequency_penalty=0.0,
    presence_penalty=-1.0,
    seed=0,
    stop=("FIN", "\n\n"),
    provider={"parallel_tool_calls": False},
)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_is_sent_as_the_provider_wants_it(
    chat: WireChat,
    call: ChatCall,
    upstream: UpstreamServer,
    provider: ModelProvider,
    *,
    stream: bool,
) -> None:
    full = dataclasses.replace(
        call,
        messages=(
            Message(Role.SYSTEM, "Sé breve."),
            Message(Role.USER, "¿Tiempo?"),
            Message(Role.ASSISTANT, "", (ToolCall("call00001", "weather", '{"city": "Lima"}'),)),
            Message(Role.TOOL, "21 °C", tool_call_id="call00001"),
        ),
        options=FULL_OPTIONS,
        tools=(Tool("weather", "The weather", SCHEMA), Tool("now", "", {"type": "object"})),
        response_format=ResponseFormat(SCHEMA, "place"),
    )
    if stream:
        await _parts(chat, full)
    else:
        await chat.complete(full)
    sent = upstream.requests[0].body

    mistral = provider is ModelProvider.MISTRAL
    wish = {"name": "weather", "arguments": '{"city": "Lima"}'}
    tool_turn = {"role": "tool", "tool_call_id": "call00001", "content": "21 °C"}
    assert sent.pop("stream", False) is stream
    assistant = sent["messages"][2]
    if mistral:  # the SDK adds its defaults
        assert assistant.pop("prefix", False) is False
        assistant["tool_calls"][0].pop("index", None)
    assert sent["messages"] == [
        {"role": "system", "content": "Sé breve."},
        {"role": "user", "content": "¿Tiempo?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "call00001", "type": "function", "function": wish}],
        },
        {**tool_turn, "name": "weather"} if mistral else tool_turn,
    ]
    assert sent["tools"][0]["function"]["parameters"] == SCHEMA
    assert sent["tools"][0]["function"]["description"] == "The weather"
    assert sent["tools"][1]["function"]["name"] == "now"
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
    }
    names = {
        ModelProvider.OPENAI: ("max_tokens", "seed"),
        ModelProvider.GROQ: ("max_completion_tokens", "seed"),
        ModelProvider.MISTRAL: ("max_tokens", "random_seed"),
    }[provider]
    expected = {
        "model": "some-model",
        "temperature": 0.0,
        names[0]: 50,
        "top_p": 0.5,
        "frequency_penalty": 0.0,
        "presence_penalty": -1.0,
        names[1]: 0,
        "stop": ["FIN", "\n\n"],
        "parallel_tool_calls": False,
    }
    if provider is ModelProvider.OPENAI and stream:
        expected["stream_options"] = {"include_usage": True}
    rest = {k: v for k, v in sent.items() if k not in {"messages", "tools", "response_format"}}
    assert rest == expected


async def test_a_plain_request_holds_nothing_that_was_not_asked_for(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    await chat.complete(call)
    sent = upstream.requests[0].body
    assert sent.pop("stream", False) is False
    assert sent == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "¿Qué tal?"}],
    }


async def test_a_json_object_may_be_asked_for(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    upstream.default = Answer(Content(('{"city": ', '"Lima"}')))
    result = await chat.complete(dataclasses.replace(call, response_format=ResponseFormat()))
    assert json.loads(result.text) == {"city": "Lima"}
    assert upstream.requests[0].body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("base_url", "model", "name"),
    [
        (PUBLIC_BASE_URL[ModelProvider.OPENAI], "gpt-4.1-mini", "max_completion_tokens"),
        ("http://127.0.0.1:8000/v1", "llama", "max_tokens"),
        ("http://127.0.0.1:8000/v1", "o3-mini", "max_completion_tokens"),
        ("http://127.0.0.1:8000/v1", "gpt-5-mini", "max_completion_tokens"),
    ],
)
async def test_openai_takes_the_token_limit_by_the_name_that_the_server_knows(
    clients: ClientPool, upstream: UpstreamServer, base_url: str, model: str, name: str
) -> None:
    connection = dataclasses.replace(upstream.connection(ModelProvider.OPENAI), base_url=base_url)
    call = ChatCall(connection, model, (), ChatOptions(max_tokens=9))
    assert OpenAIChat(clients).body(call, stream=False)[name] == 9


async def test_a_local_model_behind_an_address_is_asked_as_openai_is(
    clients: ClientPool, upstream: UpstreamServer
) -> None:
    there = upstream.connection(ModelProvider.OPENAI, None)
    connection = dataclasses.replace(there, provider=ModelProvider.LOCAL, endpoint="box")
    call = ChatCall(connection, "llama", (Message(Role.USER, "Hi"),), ChatOptions(max_tokens=9))
    assert (await OpenAIChat(clients).complete(call)).text == TEXT
    assert upstream.requests[0].body["max_tokens"] == 9
