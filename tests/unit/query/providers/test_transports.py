"""The lean client and the SDKs are equal: in what they send, give and raise."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from config_core.model_configuration import ModelProvider
from query.providers.model import (
    ChatCall,
    ChatOptions,
    Message,
    ResponseFormat,
    Role,
    StreamPart,
    TextDelta,
    Tool,
    ToolCall,
)
from query.providers.wire_chat import WireChat
from service_core.upstream.clients import ClientPool, Transport
from service_core.upstream.errors import UpstreamError
from tests.unit.query.providers.conftest import ADAPTERS
from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.faults import CHAT_FAULTS
from tests.upstream.formats import Content, Wish
from tests.upstream.server import UpstreamServer

_PATIENCE_SECONDS = 20.0
_SILENT = {"silence", "silence after headers", "stall", "missing [DONE], held open"}
_PATIENCE_WITH_SILENCE_SECONDS = 0.6
_OWN_HEADERS = {"user-agent", "accept-encoding", "accept", "host", "content-length", "connection"}

GOOD: Mapping[str, Behaviour] = {
    "an answer": Answer(Content(pieces=("Hola, ", "¿qué ", "tal? ", "\u2028", "📚 日本"))),
    "an empty answer": Answer(Content(pieces=())),
    "tool calls": Answer(
        Content(
            pieces=(),
            tool_calls=(Wish("call_1", "look", '{"a": 1}'), Wish("call_2", "see", "{}")),
            finish_reason="tool_calls",
        )
    ),
}


@pytest.fixture
async def both(provider: ModelProvider) -> AsyncIterator[dict[Transport, WireChat]]:
    """The provider's adapter over each transport."""
    pools = {transport: ClientPool(transport=transport) for transport in Transport}
    yield {transport: ADAPTERS[provider](pool) for transport, pool in pools.items()}
    for pool in pools.values():
        await pool.aclose()


def _whole_call(call: ChatCall) -> ChatCall:
    """A call that uses everything that an adapter can send."""
    wish = ToolCall("call_1", "look", '{"where": "Málaga"}')
    return ChatCall(
        connection=call.connection,
        model="some-model",
        messages=(
            Message(Role.SYSTEM, "Be brief \u2028 and </kind>."),
            Message(Role.USER, '¿Dónde? 📚\n\t"quoted" \\ \x7f'),
            Message(Role.ASSISTANT, "", (wish,)),
            Message(Role.TOOL, "aquí", tool_call_id="call_1"),
        ),
        options=ChatOptions(
            temperature=0.0,
            max_tokens=1,
            top_p=1.0,
            frequency_penalty=-0.5,
            presence_penalty=1e-7,
            seed=2**31,
            stop=("fin", "\n"),
            provider={},
        ),
        tools=(Tool("look", "Looks.", {"type": "object", "properties": {"where": {}}}),),
        response_format=ResponseFormat({"type": "object"}, "answer", strict=True),
    )


async def _outcome(
    chat: WireChat, call: ChatCall, *, stream: bool, patience: float = _PATIENCE_SECONDS
) -> object:
    """What came of a call, so that two can be compared."""
    parts: list[StreamPart] = []
    try:
        async with asyncio.timeout(patience):
            if not stream:
                return await chat.complete(call)
            async for part in chat.stream(call):
                parts.append(part)  # noqa: PERF401 # they must survive an error
    except TimeoutError:
        return _joined(parts), "silence"
    except UpstreamError as error:
        facts = (type(error), error.provider, error.status, error.retry_after, error.request_id)
        return _joined(parts), facts, error.message, error.metadata
    return _joined(parts)


def _joined(parts: list[StreamPart]) -> tuple[str, tuple[StreamPart, ...]]:
    """The text in one piece, and what else came."""
    text = "".join(part.text for part in parts if isinstance(part, TextDelta))
    return text, tuple(part for part in parts if not isinstance(part, TextDelta))


def _sent(received: Received) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in received.headers.items()}
    common = [name for name in headers if name not in _OWN_HEADERS and "stainless" not in name]
    return {
        "path": received.path,
        "operation": received.operation,
        "body": _without_defaults(received.body),
        "headers": {name: headers[name] for name in common},
    }


def _without_defaults(value: Any) -> Any:
    """The same without what Mistral's SDK adds that means nothing: the defaults of its models."""
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    if isinstance(value, dict):
        return {
            name: _without_defaults(item)
            for name, item in value.items()
            if (name, item) not in (("prefix", False), ("index", 0))
        }
    return value


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("whole", [False, True], ids=["plain", "whole"])
async def test_both_send_the_same(
    both: dict[Transport, WireChat],
    call: ChatCall,
    upstream: UpstreamServer,
    *,
    whole: bool,
    stream: bool,
) -> None:
    asked = _whole_call(call) if whole else call
    for chat in both.values():
        await _outcome(chat, asked, stream=stream)
    first, second = map(_sent, upstream.requests)
    assert first == second
    assert first["headers"]["authorization"].startswith("Bearer ")


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("name", [*GOOD, *CHAT_FAULTS])
async def test_both_come_to_the_same_end(
    both: dict[Transport, WireChat],
    call: ChatCall,
    upstream: UpstreamServer,
    *,
    name: str,
    stream: bool,
) -> None:
    upstream.default = {**GOOD, **CHAT_FAULTS}[name]
    patience = _PATIENCE_WITH_SILENCE_SECONDS if name in _SILENT else _PATIENCE_SECONDS
    lean, sdk = await asyncio.gather(
        *(
            _outcome(both[each], call, stream=stream, patience=patience)
            for each in (Transport.LEAN, Transport.SDK)
        )
    )
    assert lean == sdk
