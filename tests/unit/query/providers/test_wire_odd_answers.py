"""Answers that are whole, and odd: none ends in an error of ours, and none loses a piece."""

import asyncio
import json
from typing import Any

import pytest

from query.providers.model import (
    ChatCall,
    Finished,
    StreamPart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from query.providers.wire_answer import StreamReader
from query.providers.wire_chat import WireChat
from service_core.upstream.errors import UpstreamFailedError
from service_core.usage import Usage
from tests.upstream.behaviours import Answer, Raw
from tests.upstream.exchange import EVENTS
from tests.upstream.misframed import AnswerTwice, Restless
from tests.upstream.server import UpstreamServer

HALF = "\ud83d"
"""Half of a surrogate pair, as a model gives it that was stopped in the middle of a character."""


def _answer(message: dict[str, Any], usage: dict[str, Any] | None = None) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"model": "m-1", "choices": [choice], "usage": usage}).encode()


def _events(*deltas: dict[str, Any], usage: dict[str, Any] | None = None) -> bytes:
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices[-1]["finish_reason"] = "stop"
    chunks: list[dict[str, Any]] = [{"model": "m-1", "choices": [choice]} for choice in choices]
    chunks[-1]["usage"] = usage
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks)


async def _parts(chat: WireChat, call: ChatCall) -> list[StreamPart]:
    return [part async for part in chat.stream(call)]


async def test_half_a_character_is_marked_in_an_answer(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    wish = {"id": f"c{HALF}", "function": {"name": "look", "arguments": f'{{"a": "{HALF}"}}'}}
    upstream.default = Raw(_answer({"content": f"Hola {HALF}", "tool_calls": [wish]}))
    result = await chat.complete(call)
    assert result.text == "Hola \ufffd"
    assert result.tool_calls == (ToolCall("c\ufffd", "look", '{"a": "\ufffd"}'),)


async def test_half_a_character_is_marked_in_a_stream(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    events = _events({"content": "Hola "}, {"content": HALF}, {"content": "!"})
    upstream.default = Raw(events, content_type=EVENTS)
    texts = [part.text for part in await _parts(chat, call) if isinstance(part, TextDelta)]
    assert texts == ["Hola ", "\ufffd", "!"]


@pytest.mark.parametrize("count", [2**31, 2**63, 10**30, -1, 1.5, True, "12", [3]])
async def test_a_count_of_tokens_that_can_not_be_is_none(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, count: object
) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    upstream.default = Raw(_answer({"content": "Hola"}, usage))
    assert (await chat.complete(call)).usage == Usage(0, 3)
    upstream.default = Raw(_events({"content": "Hola"}, usage=usage), content_type=EVENTS)
    last = (await _parts(chat, call))[-1]
    assert isinstance(last, Finished)
    assert last.usage == Usage(0, 3)


async def test_a_byte_order_mark_does_not_take_the_first_piece(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    events = b"\xef\xbb\xbf" + _events({"content": "Hola"}, {"content": "!"})
    upstream.default = Raw(events, content_type=EVENTS)
    texts = [part.text for part in await _parts(chat, call) if isinstance(part, TextDelta)]
    assert texts == ["Hola", "!"]


async def test_a_finished_stream_is_whole_however_much_follows(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query.providers.wire_chat._USAGE_SECONDS", 0.05)
    upstream.default = Restless()
    async with asyncio.timeout(10):
        assert isinstance((await _parts(chat, call))[-1], Finished)


async def test_an_answer_that_is_too_large_is_a_failure(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service_core.upstream.exchange.MAX_CHAT_ANSWER_BYTES", 1000)
    upstream.default = Raw(_answer({"content": "x" * 1000}))
    with pytest.raises(UpstreamFailedError, match="without end"):
        await chat.complete(call)


async def test_what_was_not_asked_for_is_no_answer_to_the_next_request(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer
) -> None:
    twice = AnswerTwice()
    upstream.script(twice, Answer())
    first = await chat.complete(call)
    twice.again()
    for _turn in range(5):
        await asyncio.sleep(0)  # it arrives while nothing is asked
    assert (await chat.complete(call)).text == first.text
    assert len(upstream.requests) == 2


def _deltas(*wishes: dict[str, Any]) -> list[StreamPart]:
    reader = StreamReader("m-1")
    chunks = [{"choices": [{"delta": {"tool_calls": [wish]}}]} for wish in wishes]
    return [part for chunk in chunks for part in reader.read(chunk)]


def test_an_id_that_comes_late_belongs_to_the_same_call() -> None:
    assert _deltas(
        {"index": 0, "function": {"name": "look", "arguments": ""}},
        {"index": 0, "id": "call_1", "function": {"arguments": "{}"}},
    ) == [ToolCallDelta(0, "", "", "look"), ToolCallDelta(0, "{}", "call_1", "")]


def test_a_name_that_comes_late_belongs_to_the_same_call() -> None:
    assert _deltas(
        {"index": 0, "id": "call_1", "function": {"arguments": ""}},
        {"index": 0, "function": {"name": "look", "arguments": "{}"}},
    ) == [ToolCallDelta(0, "", "call_1", ""), ToolCallDelta(0, "{}", "", "look")]
