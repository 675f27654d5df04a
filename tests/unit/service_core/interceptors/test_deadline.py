import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from config_core.errors import Reason
from service_core.interceptors import DeadlineInterceptor, ErrorInterceptor
from tests.unit.service_core.probe import KINDS, Context, Message, call, failure, serving
from tests.unit.service_core.running import caught

LAYERS = [ErrorInterceptor(), DeadlineInterceptor()]


@pytest.fixture(autouse=True)
def _wide_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests share the machine with others: the answer takes its time."""
    monkeypatch.setattr("service_core.deadline._MARGIN", 1.0)
    monkeypatch.setattr("service_core.deadline._MARGIN_SHARE", 0.5)


async def _forever(_: Context) -> AsyncIterator[Message]:
    await asyncio.Event().wait()
    yield Message()


async def _silent_after_one(_: Context) -> AsyncIterator[Message]:
    yield Message(texts=["first"])
    await asyncio.Event().wait()


async def _at_once(_: Context) -> AsyncIterator[Message]:
    yield Message(texts=["done"])


def assert_ours(error: grpc.aio.AioRpcError) -> None:
    """The client's own error would have the same code, and no advice."""
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "give the call more time" in (error.details() or "")
    assert caught(error).code_reason is Reason.BUDGET_SPENT


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_nothing_else_ends_says_that_its_time_is_over(kind: str) -> None:
    async with serving(_forever, LAYERS) as channel:
        error = await failure(channel, kind, timeout=2)
    assert_ours(error)


async def test_so_does_a_stream_that_falls_silent() -> None:
    received: list[Message] = []
    async with serving(_silent_after_one, LAYERS) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(channel, "UnaryStream", received=received, timeout=2)
    assert [message.texts[0] for message in received] == ["first"]
    assert_ours(raised.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_that_ends_in_time_is_left_alone(kind: str) -> None:
    async with serving(_at_once, LAYERS) as channel:
        (answer,) = await call(channel, kind, timeout=2)
    assert answer.texts == ["done"]
