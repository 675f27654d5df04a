"""A request counts from its beginning to its end, however that comes about."""

import asyncio

import pytest

from config_core.errors import LimitExceededError, OverloadedError
from service_core.limits.limiter import Limiter
from service_core.limits.memory import MemoryLimits
from service_core.limits.port import Demand, Grant, LimitsUnavailableError, Refusal

ONE = Demand(concurrent=1)
TOKENS = Demand(tokens=100, estimate=80)


class Slow(MemoryLimits):
    """Counts that take their time to settle, as those behind a network do."""

    async def settle(self, grant: Grant, tokens: int | None) -> None:
        await asyncio.sleep(0.01)
        await super().settle(grant, tokens)


class Away(MemoryLimits):
    async def take(self, tenant: str, demand: Demand) -> Grant | Refusal:
        raise LimitsUnavailableError(f"{tenant} {demand}")


async def test_a_request_holds_its_place_while_it_runs() -> None:
    limiter = Limiter(MemoryLimits())
    async with limiter.admitted("acme", ONE):
        with pytest.raises(LimitExceededError) as refused:
            async with limiter.admitted("acme", ONE):
                raise AssertionError
    async with limiter.admitted("acme", ONE):
        pass
    assert refused.value.metadata == {"limit": "concurrent_requests"}
    assert refused.value.retry_after == 1.0
    assert str(refused.value) == (
        "The tenant's limit of 1 concurrent requests is used up: try again in 1 s."
    )


async def test_a_request_that_fails_gives_its_place_back() -> None:
    limiter = Limiter(Slow())
    with pytest.raises(ValueError, match="broken"):
        async with limiter.admitted("acme", ONE):
            raise ValueError("broken")
    async with limiter.admitted("acme", ONE):
        pass


async def test_a_request_that_is_cancelled_gives_its_place_back() -> None:
    limiter = Limiter(Slow())
    entered = asyncio.Event()

    async def run() -> None:
        async with limiter.admitted("acme", ONE):
            entered.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    await entered.wait()
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()  # while it settles
    with pytest.raises(asyncio.CancelledError):
        await running
    await limiter.aclose()
    async with limiter.admitted("acme", ONE):
        pass


async def test_what_was_used_counts_instead_of_what_was_expected() -> None:
    limiter = Limiter(MemoryLimits())
    async with limiter.admitted("acme", TOKENS) as use:
        use.tokens = 20
    async with limiter.admitted("acme", TOKENS):
        pass  # nobody says what it has used
    with pytest.raises(LimitExceededError) as refused:
        async with limiter.admitted("acme", Demand(tokens=100, estimate=1)):
            raise AssertionError
    assert refused.value.metadata == {"limit": "tokens_per_minute"}
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 60.2


async def test_what_cannot_be_counted_is_overload_with_a_time_to_try_again() -> None:
    with pytest.raises(OverloadedError, match="can't be checked") as refused:
        async with Limiter(Away()).admitted("acme", ONE):
            raise AssertionError
    assert refused.value.retry_after == 2.0
