"""While the counts are away, nobody waits for them for long."""

import asyncio
from collections.abc import Callable

import pytest
import structlog
from pydantic import SecretStr

from service_core.limits.availability import REST_SECONDS, GuardedLimits, OnFailure
from service_core.limits.memory import MemoryLimits
from service_core.limits.port import Demand, Grant, LimitsUnavailableError, Refusal
from service_core.limits.shared import SharedLimits
from tests.servers.valkey import ValkeyServer

ONE = Demand(requests=1, concurrent=1)


class Away(MemoryLimits):
    """Counts that can be reached when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.asked = 0
        self.dropped: list[Grant] = []
        self.hold: asyncio.Event | None = None

    async def take(self, tenant: str, demand: Demand) -> Grant | Refusal:
        await self._reach()
        return await super().take(tenant, demand)

    async def settle(self, grant: Grant, tokens: int | None) -> None:
        await self._reach()
        await super().settle(grant, tokens)

    def drop(self, grant: Grant) -> None:
        self.dropped.append(grant)

    async def _reach(self) -> None:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.is_away:
            raise LimitsUnavailableError("ConnectionError")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def guarded(
    store: Away, on_failure: OnFailure = OnFailure.OPEN, clock: Callable[[], float] | None = None
) -> GuardedLimits:
    return GuardedLimits(store, on_failure, clock=clock or Clock())


async def test_requests_are_counted_where_they_can_be() -> None:
    limits = guarded(Away())
    assert isinstance(await limits.take("acme", ONE), Grant)
    assert isinstance(await limits.take("acme", ONE), Refusal)


async def test_open_lets_requests_in_uncounted_and_closed_refuses_them() -> None:
    store = Away()
    store.is_away = True
    assert await guarded(store).take("acme", ONE) == Grant("acme")
    with pytest.raises(LimitsUnavailableError):
        await guarded(store, OnFailure.CLOSED).take("acme", ONE)


async def test_after_a_failure_nobody_asks_until_the_rest_is_over() -> None:
    store, clock = Away(), Clock()
    limits = guarded(store, clock=clock)
    store.is_away = True
    for _ in range(5):
        await limits.take("acme", ONE)
    assert store.asked == 1
    clock.now = REST_SECONDS
    for _ in range(5):
        await limits.take("acme", ONE)
    assert store.asked == 2


async def test_after_the_rest_one_request_alone_tries_again() -> None:
    store, clock = Away(), Clock()
    limits = guarded(store, clock=clock)
    store.is_away = True
    await limits.take("acme", ONE)
    clock.now, store.is_away, store.hold = REST_SECONDS, False, asyncio.Event()
    trying = asyncio.create_task(limits.take("acme", ONE))
    await asyncio.sleep(0)
    assert await limits.take("other", ONE) == Grant("other")
    assert store.asked == 2
    store.hold.set()
    assert isinstance(await trying, Grant)
    assert isinstance(await limits.take("acme", ONE), Refusal)


async def test_what_cannot_be_settled_is_dropped_without_asking() -> None:
    store = Away()
    limits = guarded(store)
    first, second = [await limits.take(tenant, ONE) for tenant in ("acme", "other")]
    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    store.is_away = True
    await limits.settle(first, 1)
    asked = store.asked
    await limits.settle(second, 1)
    assert (store.asked, store.dropped) == (asked, [second])


async def test_an_outage_is_logged_once_and_so_is_its_end() -> None:
    store, clock = Away(), Clock()
    limits = guarded(store, clock=clock)
    store.is_away = True
    with structlog.testing.capture_logs() as logs:
        for second in range(4):
            clock.now = second * REST_SECONDS
            await limits.take("acme", ONE)
        store.is_away = False
        clock.now += REST_SECONDS
        await limits.take("acme", ONE)
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert (logs[0]["why"], logs[0]["requests_are"]) == ("ConnectionError", "open")


@pytest.mark.parametrize("on_failure", OnFailure, ids=str)
async def test_a_real_server_that_dies_and_comes_back_is_counted_with_again(
    on_failure: OnFailure,
) -> None:
    clock = Clock()
    with ValkeyServer() as server:
        counts = SharedLimits(SecretStr(server.url), answer_seconds=20)
        limits = GuardedLimits(counts, on_failure, clock=clock)
        assert isinstance(await limits.take("acme", ONE), Grant)
        assert isinstance(await limits.take("acme", ONE), Refusal)
        server.kill()
        for _ in range(3):
            if on_failure is OnFailure.OPEN:
                assert await limits.take("acme", ONE) == Grant("acme")
            else:
                with pytest.raises(LimitsUnavailableError):
                    await limits.take("acme", ONE)
        server.start()
        clock.now += REST_SECONDS
        assert isinstance(await limits.take("acme", ONE), Grant)
        assert isinstance(await limits.take("acme", ONE), Refusal)
        await limits.aclose()
