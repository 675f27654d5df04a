"""Leases: a client is closed when it is idle or surplus, and never under a call."""

from contextlib import AsyncExitStack

import pytest

from config_core.connection import Connection
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from service_core.upstream.clients import ClientPool, SharedClient
from tests.upstream.server import UpstreamServer


class _Counted:
    """A client that only knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class _Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "service_core.upstream.clients_lean.make", lambda *_: _Counted(), raising=True
    )


def _to(place: int) -> Connection:
    url = f"http://{place}"
    return Connection(ModelProvider.OPENAI, "", url, private=False, source=Source.FILE)


def _closed(client: SharedClient) -> bool:
    assert isinstance(client, _Counted)
    return client.closed


@pytest.mark.usefixtures("counted")
async def test_a_surplus_client_in_use_is_closed_only_with_its_last_lease() -> None:
    pool = ClientPool(max_clients=1)
    async with AsyncExitStack() as outer:
        first = await outer.enter_async_context(pool.lease(_to(1)))
        async with AsyncExitStack() as inner:
            assert await inner.enter_async_context(pool.lease(_to(1))) is first
            second = await inner.enter_async_context(pool.lease(_to(2)))
            assert not _closed(first)
        assert not _closed(first)
    assert _closed(first)
    assert not _closed(second)
    assert pool.stats.clients == 1


@pytest.mark.usefixtures("counted")
async def test_the_client_that_was_used_last_stays() -> None:
    pool = ClientPool(max_clients=2)
    made = []
    for place in (1, 2, 1, 3):
        async with pool.lease(_to(place)) as client:
            made.append(client)
    assert [_closed(client) for client in made] == [False, True, False, False]


@pytest.mark.usefixtures("counted")
async def test_an_idle_client_is_closed_after_its_time() -> None:
    clock = _Clock()
    pool = ClientPool(idle_seconds=60, clock=clock)
    async with pool.lease(_to(1)) as idle:
        pass
    clock.now = 59
    async with pool.lease(_to(2)):
        assert not _closed(idle)
    clock.now = 60
    async with pool.lease(_to(2)):
        assert _closed(idle)


@pytest.mark.usefixtures("counted")
async def test_a_long_call_does_not_make_its_client_idle() -> None:
    clock = _Clock()
    pool = ClientPool(idle_seconds=60, clock=clock)
    async with pool.lease(_to(1)) as busy:
        clock.now = 1000
        async with pool.lease(_to(2)):
            assert not _closed(busy)


@pytest.mark.usefixtures("counted")
async def test_closing_the_pool_waits_for_those_in_use() -> None:
    pool = ClientPool()
    async with pool.lease(_to(1)) as free:
        pass
    async with pool.lease(_to(2)) as busy:
        await pool.aclose()
        assert (_closed(free), _closed(busy)) == (True, False)
    assert _closed(busy)
    with pytest.raises(RuntimeError):
        async with pool.lease(_to(1)):
            pass


@pytest.mark.usefixtures("counted")
async def test_the_pool_knows_no_key(upstream: UpstreamServer) -> None:
    pool = ClientPool()
    async with pool.lease(upstream.connection(ModelProvider.OPENAI, "canary-key")):
        assert "canary" not in str(vars(pool))
