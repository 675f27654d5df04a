"""One contract for both stores: counts in memory, and in a real Valkey server."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from service_core.limits.memory import MemoryLimits
from service_core.limits.port import Demand, Grant, Limit, LimitStore, Refusal
from service_core.limits.shared import SharedLimits
from tests.servers.valkey import ValkeyServer

SHORT = 0.6
"""Seconds of a window that a test waits for."""


@pytest.fixture
def tenant() -> str:
    return f"acme {uuid.uuid4().hex} }}ñ"


@pytest.fixture(params=["memory", "tcp", "socket"])
async def store(request: pytest.FixtureRequest, valkey: ValkeyServer) -> AsyncIterator[LimitStore]:
    """Give a store with windows of a minute."""
    store: LimitStore = MemoryLimits()
    if request.param != "memory":
        url = valkey.url if request.param == "tcp" else valkey.socket_url
        store = SharedLimits(SecretStr(url), answer_seconds=20)
    yield store
    await store.aclose()


@pytest.fixture(params=["memory", "shared"])
async def short(request: pytest.FixtureRequest, valkey: ValkeyServer) -> AsyncIterator[LimitStore]:
    """Give a store with short windows."""
    store: LimitStore = MemoryLimits(window_seconds=SHORT)
    if request.param == "shared":
        store = SharedLimits(SecretStr(valkey.url), window_seconds=SHORT, answer_seconds=20)
    yield store
    await store.aclose()


async def granted(store: LimitStore, tenant: str, demand: Demand) -> Grant:
    taken = await store.take(tenant, demand)
    assert isinstance(taken, Grant)
    return taken


async def refused(store: LimitStore, tenant: str, demand: Demand) -> Refusal:
    taken = await store.take(tenant, demand)
    assert isinstance(taken, Refusal)
    return taken


# --- Requests


async def test_as_many_requests_as_the_limit_are_let_in(store: LimitStore, tenant: str) -> None:
    demand = Demand(requests=5)
    for _ in range(5):
        await granted(store, tenant, demand)
    refusal = await refused(store, tenant, demand)
    assert refusal.limit is Limit.REQUESTS
    assert 0 < refusal.retry_after <= 60.2


async def test_many_callers_at_once_get_exactly_the_limit(store: LimitStore, tenant: str) -> None:
    demand, got = Demand(requests=500, tokens=5000, estimate=10), 0

    async def caller() -> int:
        taken = [await store.take(tenant, demand) for _ in range(50)]
        return sum(isinstance(each, Grant) for each in taken)

    got = sum(await asyncio.gather(*(caller() for _ in range(20))))
    assert got == 500


async def test_requests_count_until_a_window_has_passed(short: LimitStore, tenant: str) -> None:
    demand = Demand(requests=3)
    for _ in range(2):
        for _ in range(3):
            await granted(short, tenant, demand)
        refusal = await refused(short, tenant, demand)
        await asyncio.sleep(refusal.retry_after + SHORT)


async def test_a_steady_flow_never_exceeds_the_limit(short: LimitStore, tenant: str) -> None:
    demand, got = Demand(requests=20), 0
    loop = asyncio.get_running_loop()
    start = loop.time()
    while loop.time() < start + 3 * SHORT:
        got += isinstance(await short.take(tenant, demand), Grant)
    windows = int((loop.time() - start) / SHORT) + 1
    assert 20 < got <= 20 * windows


async def test_tenants_count_apart(store: LimitStore, tenant: str) -> None:
    demand = Demand(requests=1, tokens=10, concurrent=1, estimate=10)
    await granted(store, tenant, demand)
    await granted(store, f"{tenant}2", demand)
    await refused(store, tenant, demand)


async def test_a_limit_that_is_raised_holds_at_once(store: LimitStore, tenant: str) -> None:
    await granted(store, tenant, Demand(requests=1))
    await refused(store, tenant, Demand(requests=1))
    await granted(store, tenant, Demand(requests=2))


# --- Tokens


def tokens(estimate: int, limit: int = 100) -> Demand:
    return Demand(tokens=limit, estimate=estimate)


async def test_tokens_are_reserved_until_it_is_known_how_many_there_were(
    store: LimitStore, tenant: str
) -> None:
    grant = await granted(store, tenant, tokens(80))
    assert (await refused(store, tenant, tokens(21))).limit is Limit.TOKENS
    await store.settle(grant, 30)
    await granted(store, tenant, tokens(70))
    await refused(store, tenant, tokens(1))


async def test_more_tokens_than_were_reserved_count_all_the_same(
    store: LimitStore, tenant: str
) -> None:
    grant = await granted(store, tenant, tokens(10))
    await store.settle(grant, 250)
    assert (await refused(store, tenant, tokens(0))).retry_after > 0


async def test_tokens_that_nobody_knows_of_count_as_they_were_reserved(
    store: LimitStore, tenant: str
) -> None:
    await store.settle(await granted(store, tenant, tokens(80)), None)
    await refused(store, tenant, tokens(21))
    await granted(store, tenant, tokens(20))


async def test_a_request_alone_fits_however_much_it_expects(store: LimitStore, tenant: str) -> None:
    grant = await granted(store, tenant, tokens(5000))
    await refused(store, tenant, tokens(0))
    await store.settle(grant, 0)
    await granted(store, tenant, tokens(5000))


async def test_a_reservation_that_has_left_the_window_is_not_taken_back(
    short: LimitStore, tenant: str
) -> None:
    grant = await granted(short, tenant, tokens(80))
    await asyncio.sleep(2 * SHORT)
    await short.settle(grant, 50)
    await granted(short, tenant, tokens(50))
    await refused(short, tenant, tokens(1))


# --- Requests at the same time


async def test_a_place_is_free_again_once_a_request_has_ended(
    store: LimitStore, tenant: str
) -> None:
    demand = Demand(concurrent=2)
    first, _ = [await granted(store, tenant, demand) for _ in range(2)]
    assert await refused(store, tenant, demand) == Refusal(Limit.CONCURRENT, 1.0)
    await store.settle(first, None)
    await granted(store, tenant, demand)
    await refused(store, tenant, demand)


async def test_many_callers_at_once_get_exactly_the_places(store: LimitStore, tenant: str) -> None:
    demand = Demand(concurrent=7)
    taken = await asyncio.gather(*(store.take(tenant, demand) for _ in range(50)))
    assert sum(isinstance(each, Grant) for each in taken) == 7


async def test_what_is_refused_counts_nowhere(store: LimitStore, tenant: str) -> None:
    running = await granted(store, tenant, Demand(concurrent=1))
    everything = Demand(requests=1, tokens=10, concurrent=1, estimate=10)
    assert (await refused(store, tenant, everything)).limit is Limit.CONCURRENT
    await store.settle(running, None)
    await store.settle(await granted(store, tenant, everything), 10)
    assert (await refused(store, tenant, everything)).limit is Limit.REQUESTS
    assert (await refused(store, tenant, tokens(1, 10))).limit is Limit.TOKENS
    await granted(store, tenant, Demand(concurrent=1))


# --- Memory alone


async def test_tenants_that_ask_for_nothing_any_more_are_forgotten() -> None:
    now = 0.0
    store = MemoryLimits(clock=lambda: now)
    busy = await granted(store, "busy", Demand(concurrent=1))
    for number in range(100):
        await granted(store, f"t{number}", Demand(requests=1))
    now = 100.0
    await store.settle(busy, None)
    for _ in range(60):
        await store.take("late", Demand(requests=100))
    assert store.tenants == 1
