"""Counts that several processes share, and what becomes of them when one dies or nobody answers."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from service_core.limits.port import Demand, Grant, LimitsUnavailableError, Refusal
from service_core.limits.shared import SharedLimits
from tests.servers.valkey import ValkeyServer

ONE = Demand(concurrent=1)
LEASE = 0.5


@pytest.fixture
def tenant() -> str:
    return uuid.uuid4().hex


@asynccontextmanager
async def process(
    server: ValkeyServer, lease: float = 30.0, answer: float = 20.0
) -> AsyncIterator[SharedLimits]:
    """What one process has of the counts."""
    store = SharedLimits(SecretStr(server.url), lease_seconds=lease, answer_seconds=answer)
    yield store
    await store.aclose()


async def until_granted(store: SharedLimits, tenant: str, demand: Demand = ONE) -> None:
    async with asyncio.timeout(20):
        while isinstance(await store.take(tenant, demand), Refusal):  # noqa: ASYNC110 # it ends in the server
            await asyncio.sleep(0.02)


async def test_several_processes_get_exactly_the_limit_together(
    valkey: ValkeyServer, tenant: str
) -> None:
    program = Path(__file__).with_name("counting_process.py")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            str(program),
            valkey.url,
            tenant,
            "1000",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for each in processes:
        assert each.stdout is not None
        assert await each.stdout.readline() == b"ready\n"
    outputs = [
        out for out, _ in await asyncio.gather(*(each.communicate(b"go\n") for each in processes))
    ]
    counted = [int(output) for output in outputs]
    assert sum(counted) == 1000
    assert sum(each > 0 for each in counted) >= 2


async def test_the_place_of_a_process_that_died_is_free_after_its_lease(
    valkey: ValkeyServer, tenant: str
) -> None:
    async with process(valkey) as other:
        async with process(valkey, LEASE) as dying:
            assert isinstance(await dying.take(tenant, ONE), Grant)
            assert isinstance(await other.take(tenant, ONE), Refusal)
        await until_granted(other, tenant)


async def test_a_place_is_free_after_its_lease_though_others_go_on(
    valkey: ValkeyServer, tenant: str
) -> None:
    two = Demand(concurrent=2)
    async with process(valkey) as other:
        assert isinstance(await other.take(tenant, two), Grant)
        async with process(valkey, LEASE) as dying:
            assert isinstance(await dying.take(tenant, two), Grant)
        assert isinstance(await other.take(tenant, two), Refusal)
        await until_granted(other, tenant, two)


async def test_a_request_that_lasts_keeps_its_place(valkey: ValkeyServer, tenant: str) -> None:
    lease = 2.0  # is renewed in time on a busy machine too
    async with process(valkey, lease) as lasting, process(valkey) as other:
        grant = await lasting.take(tenant, ONE)
        assert isinstance(grant, Grant)
        await asyncio.sleep(1.5 * lease)
        assert isinstance(await other.take(tenant, ONE), Refusal)
        await lasting.settle(grant, None)
        assert isinstance(await other.take(tenant, ONE), Grant)


async def test_a_place_that_was_dropped_is_not_kept(valkey: ValkeyServer, tenant: str) -> None:
    async with process(valkey, LEASE) as dropping, process(valkey) as other:
        grant = await dropping.take(tenant, ONE)
        assert isinstance(grant, Grant)
        dropping.drop(grant)
        await until_granted(other, tenant)


async def test_a_request_that_is_cancelled_while_it_asks_takes_no_place(tenant: str) -> None:
    with ValkeyServer() as server:
        async with process(server) as store:
            assert isinstance(await store.take("warm", ONE), Grant)
            server.pause()
            asking = asyncio.create_task(store.take(tenant, ONE))
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            server.resume()
            await until_granted(store, tenant)


async def test_nothing_is_left_behind_once_a_window_has_passed(tenant: str) -> None:
    with ValkeyServer() as server:
        store = SharedLimits(SecretStr(server.url), window_seconds=0.3, lease_seconds=0.3)
        demand = Demand(requests=5, tokens=50, concurrent=5, estimate=1)
        grant = await store.take(tenant, demand)
        assert isinstance(grant, Grant)
        await store.settle(grant, 2)
        async with asyncio.timeout(20):
            while await store._redis.dbsize():  # noqa: ASYNC110 # it ends in the server
                await asyncio.sleep(0.05)
        await store.aclose()


async def test_a_server_that_forgot_everything_counts_from_nothing(tenant: str) -> None:
    with ValkeyServer() as server:
        async with process(server) as store:
            grant = await store.take(tenant, Demand(tokens=100, estimate=90, concurrent=1))
            assert isinstance(grant, Grant)
            server.kill()
            server.start()
            await _until_back(store)
            await store.settle(grant, 10)
            assert isinstance(await store.take(tenant, Demand(tokens=100, estimate=90)), Grant)


async def _until_back(store: SharedLimits) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await store.take("anybody", Demand(requests=1000))
            except LimitsUnavailableError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize("how", ["dead", "silent"])
async def test_a_server_that_does_not_answer_is_said_to_be_away(how: str, tenant: str) -> None:
    with ValkeyServer() as server:
        async with process(server, answer=1.0) as store:
            grant = await store.take(tenant, ONE)
            assert isinstance(grant, Grant)
            if how == "dead":
                server.kill()
            else:
                server.pause()
            for _ in range(2):
                with pytest.raises(LimitsUnavailableError):
                    await store.take(tenant, ONE)
            with pytest.raises(LimitsUnavailableError):
                await store.settle(grant, None)


async def test_an_error_says_nothing_of_the_address_or_its_password() -> None:
    store = SharedLimits(SecretStr("redis://:canary-password@127.0.0.1:9/0"))
    with pytest.raises(LimitsUnavailableError) as raised:
        await store.take("acme", ONE)
    error = raised.value
    assert "canary" not in f"{error!r} {error.__cause__!r} {store!r}"
    assert error.__suppress_context__
    await store.aclose()
