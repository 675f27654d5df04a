import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace

import pytest

from config_core.errors import CascadaError
from config_core.model_configuration import ModelProvider
from service_core.client import NextService
from service_core.deadline import Deadline
from service_core.load import LONG_SECONDS, Away, Load
from service_core.retry import Attempts
from tests.unit.service_core.retry_world import Reply, configured


def test_those_who_wait_elsewhere_are_not_busy() -> None:
    load = Load(running=3)
    load.away.count = 2
    assert load.busy == 1


def test_several_calls_of_one_request_make_others_no_fewer_than_none() -> None:
    load = Load(running=1)
    load.away.count = 4
    assert load.busy == 0


def test_who_waits_long_for_its_caller_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("service_core.load.time", SimpleNamespace(monotonic=lambda: now))
    load = Load(running=3)
    first, second = object(), object()
    load.callers.begin(first)
    now += LONG_SECONDS / 2
    load.callers.begin(second)
    assert load.busy == 3
    now += LONG_SECONDS * 0.75
    assert load.busy == 2
    now += LONG_SECONDS
    assert load.busy == 1
    load.callers.end(first)
    load.callers.end(second)
    assert load.busy == 3


@pytest.mark.parametrize(
    ("provider", "counted"), [(ModelProvider.OPENAI, 1), (ModelProvider.LOCAL, 0)]
)
@pytest.mark.parametrize("streams", [False, True])
async def test_who_waits_for_a_provider_is_away_and_for_a_model_of_this_process_is_not(
    provider: ModelProvider, counted: int, *, streams: bool
) -> None:
    away = Away()
    effective = configured(chat_provider=provider)
    attempts = Attempts(effective, Deadline.after(20), away=away)
    seen = []

    async def call(_: object) -> Reply:
        seen.append(away.count)
        return Reply()

    async def stream(_: object) -> AsyncGenerator[Reply, None]:
        seen.append(away.count)
        yield Reply()

    if streams:
        async for _ in attempts.stream(stream, lambda part: part):
            pass
    else:
        await attempts.run(call)
    assert seen == [counted]
    assert away.count == 0


async def test_who_waits_for_another_process_is_away_however_it_ends() -> None:
    away = Away()
    service = NextService("query", "127.0.0.1:50052", away=away)

    async def wait(end: asyncio.Event) -> None:
        async with service.errors():
            await end.wait()
            raise CascadaError("it went wrong")

    end = asyncio.Event()
    tasks = [asyncio.create_task(wait(end)) for _ in range(2)]
    await asyncio.sleep(0)
    assert away.count == 2
    tasks[0].cancel()
    end.set()
    await asyncio.wait(tasks)
    assert away.count == 0
    assert isinstance(tasks[1].exception(), CascadaError)
