"""An error must not overtake what the caller still sends: its client would lose the status."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from config_core.errors import CollectionNotFoundError
from service_core.interceptors import Call, ErrorInterceptor, errors


class Ended(Exception):  # noqa: N818 # stands for gRPC's AbortError
    pass


class Context:
    """Notes how much of the requests had been taken when the call was ended."""

    def __init__(self, requests: "Requests", time_remaining: float | None = None) -> None:
        self._requests = requests
        self._time_remaining = time_remaining
        self.taken: int | None = None

    def time_remaining(self) -> float | None:
        return self._time_remaining

    async def abort_with_status(self, _: Any) -> None:
        self.taken = self._requests.taken
        raise Ended


class Requests:
    def __init__(self, count: int | None) -> None:
        self._count = count
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[int]:
        while self._count is None or self.taken < self._count:
            self.taken += 1
            yield self.taken
            await asyncio.sleep(0)


async def not_found() -> None:
    raise CollectionNotFoundError("handbook")


async def fail(requests: Requests, time_remaining: float | None = None) -> int | None:
    context: Any = Context(requests, time_remaining)
    call = Call("/test.Service/Stream", context, requests=aiter(requests))
    with pytest.raises(Ended):
        await ErrorInterceptor().around(call, not_found)
    taken: int | None = context.taken
    return taken


async def test_what_is_still_sent_is_read_before_the_call_is_ended() -> None:
    assert await fail(Requests(50)) == 50


async def test_a_caller_that_never_stops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "READ_OFF_SECONDS", 0.05)
    assert await fail(Requests(None))


async def test_nor_beyond_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "READ_OFF_SECONDS", 3600)
    assert await asyncio.wait_for(fail(Requests(None), time_remaining=0.05), 20)


async def test_a_single_request_is_not_read_off() -> None:
    context: Any = Context(Requests(0))
    with pytest.raises(Ended):
        await ErrorInterceptor().around(Call("/test.Service/Unary", context, "request"), not_found)
    assert context.taken == 0
