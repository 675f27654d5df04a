import asyncio

import pytest

from service_core.concurrency import gather_or_cancel


async def _give(value: str, after: asyncio.Event | None = None) -> str:
    if after is not None:
        await after.wait()
    return value


async def _fail() -> str:
    raise KeyError("first")


class _Endless:
    """Waits for good, and tells when that has ended and whether its cleaning up was waited for."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cleaned = False

    async def wait(self) -> str:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cleaned = True
        return ""


async def test_results_come_in_the_order_of_the_coroutines() -> None:
    gate = asyncio.Event()

    async def last() -> str:
        gate.set()
        return "b"

    assert await gather_or_cancel([_give("a", gate), last()]) == ["a", "b"]


async def test_nothing_to_wait_for_gives_nothing() -> None:
    assert await gather_or_cancel([]) == []


async def test_the_first_failure_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError, match="first"):
        await gather_or_cancel([_Endless().wait(), _fail()])


async def test_the_others_have_ended_by_the_time_a_failure_is_raised() -> None:
    endless = _Endless()
    with pytest.raises(KeyError):
        await gather_or_cancel([endless.wait(), _fail()])
    assert endless.cleaned


async def test_cancelling_the_caller_ends_them_all() -> None:
    endless = [_Endless(), _Endless()]
    task = asyncio.create_task(gather_or_cancel(one.wait() for one in endless))
    for one in endless:
        await one.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(one.cleaned for one in endless)
