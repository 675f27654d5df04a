"""Fixtures of tests that talk to the upstream server; import what you need."""

from collections.abc import AsyncIterator

import pytest

from service_core.upstream.clients import ClientPool, Transport
from tests.upstream.server import UpstreamServer


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamServer]:
    """Run a server of the test's own."""
    async with UpstreamServer() as server:
        yield server


@pytest.fixture(params=Transport, ids=str)
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[ClientPool]:
    """Give a pool that is closed before the server, and must hold nothing by then."""
    pool = ClientPool(transport=request.param)
    yield pool
    assert pool.stats.leases == 0, "a call left its client leased"
    await pool.aclose()
    assert pool.stats.clients == 0
