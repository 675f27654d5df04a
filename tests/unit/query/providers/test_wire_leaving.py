"""A caller that leaves takes the request with it, and whatever happened, the next one is served."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

import pytest

from query.providers.model import ChatCall, FinishReason, StreamPart, TextDelta
from query.providers.wire_chat import WireChat
from service_core.upstream.errors import (
    UpstreamError,
)
from tests.upstream.behaviours import (
    Broken,
    Silence,
)
from tests.upstream.faults import CHAT_FAULTS
from tests.upstream.server import UpstreamServer


async def _drained(chat: WireChat, call: ChatCall) -> list[StreamPart]:
    return [part async for part in chat.stream(call)]


async def _leave_unary(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    task = asyncio.create_task(chat.complete(call))
    await upstream.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _leave_waiting_stream(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    task = asyncio.create_task(_drained(chat, call))
    await upstream.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _close_stream(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    upstream.default = Broken("stall")
    async with aclosing(chat.stream(call)) as parts:
        assert await anext(parts) == TextDelta("Hola, ")


async def _time_out_in_stream(chat: WireChat, call: ChatCall, upstream: UpstreamServer) -> None:
    upstream.default = Broken("stall")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await _drained(chat, call)


@pytest.mark.parametrize(
    "leave", [_leave_unary, _leave_waiting_stream, _close_stream, _time_out_in_stream]
)
async def test_leaving_a_call_closes_the_request_upstream(
    chat: WireChat,
    call: ChatCall,
    upstream: UpstreamServer,
    leave: Callable[[WireChat, ChatCall, UpstreamServer], Awaitable[None]],
) -> None:
    upstream.default = Silence()
    await leave(chat, call, upstream)
    received = await upstream.received()
    async with asyncio.timeout(2):
        await received.over.wait()
    assert received.left


@pytest.mark.parametrize("name", [n for n in CHAT_FAULTS if "oversized" not in n])
async def test_after_any_fault_the_next_request_is_answered(
    chat: WireChat, call: ChatCall, upstream: UpstreamServer, name: str
) -> None:
    upstream.script(CHAT_FAULTS[name], CHAT_FAULTS[name])
    for answer in (chat.complete(call), _drained(chat, call)):
        with suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(1):
                await answer
    assert (await chat.complete(call)).finish_reason is FinishReason.STOP
