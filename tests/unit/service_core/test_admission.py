import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from config_core.errors import OverloadedError
from service_core.admission import RETRY_SECONDS, SHORT_SECONDS, Admission
from service_core.deadline import Deadline
from service_core.load import Load
from service_core.queue_room import CALM_QUEUE, GROWING_SECONDS, SPARE_PLACES
from service_core.telemetry import LiveGauges


def door(
    load: Load | None = None,
    *,
    most: int = 100,
    busy: int = 100,
    queued: int = 100,
    seconds: float = 30.0,
    indexing: int = 100,
) -> Admission:
    return Admission(
        "query",
        load or Load(),
        most=most,
        busy=busy,
        queued=queued,
        seconds=seconds,
        indexing=indexing,
    )


class Requests:
    """Requests at a door, numbered in the order of their arrival, that run until told."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.begun: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.end = asyncio.Event()

    def arrive(self, count: int = 1, *, indexing: bool = False) -> None:
        for _ in range(count):
            number = len(self.tasks)
            self.tasks.append(asyncio.create_task(self._run(number, indexing=indexing)))

    async def _run(self, number: int, *, indexing: bool) -> None:
        async with self._admission.admitted(indexing=indexing):
            self.begun.append(number)
            await self.end.wait()

    def refused(self) -> list[int]:
        return [n for n, task in enumerate(self.tasks) if task.done() and task.exception()]


@asynccontextmanager
async def at(admission: Admission) -> AsyncIterator[Requests]:
    requests = Requests(admission)
    yield requests
    requests.end.set()
    await asyncio.wait_for(asyncio.gather(*requests.tasks, return_exceptions=True), 20)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 # what is waited for tells nobody
            await asyncio.sleep(0.001)


async def test_all_begin_in_time_where_there_is_room() -> None:
    async with at(door()) as requests:
        requests.arrive(50)
        await until(lambda: len(requests.begun) == 50)


async def test_no_more_run_than_may() -> None:
    admission = door(most=2)
    async with at(admission) as requests:
        requests.arrive(5)
        await until(lambda: len(requests.begun) == 2)
        await asyncio.sleep(0.05)
        assert (admission.running, admission.queued) == (2, 3)
    assert len(requests.begun) == 5
    assert (admission.running, admission.queued) == (0, 0)


async def test_no_more_want_something_of_the_process_than_may_all_services_together() -> None:
    load = Load()
    async with at(door(load, busy=2)) as first, at(door(load, busy=2)) as second:
        first.arrive()
        await until(lambda: first.begun == [0])
        second.arrive(3)
        await until(lambda: len(second.begun) == 1)
        await asyncio.sleep(0.05)
        assert len(second.begun) == 1
        async with load.away:
            await until(lambda: len(second.begun) == 2)
    assert load.running == 0


async def test_of_those_that_wait_the_one_that_waits_longest_begins_first() -> None:
    async with at(door(most=1)) as requests:
        requests.arrive()
        await until(lambda: requests.begun == [0])
        requests.arrive(3)
    assert requests.begun == [0, 1, 2, 3]


async def test_who_finds_the_queue_full_is_refused_at_once() -> None:
    admission = door(most=1, queued=20)
    async with at(admission) as requests:
        requests.arrive()
        await until(lambda: requests.begun == [0])
        requests.arrive(20)
        await until(lambda: admission.queued == 20)
        assert requests.refused() == []
        requests.arrive()
        await until(lambda: requests.refused() == [21])
        assert (admission.queued, admission.refused) == (20, 1)


async def test_a_queue_that_goes_on_growing_gets_hardly_longer_and_who_waited_long_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("service_core.admission.time", SimpleNamespace(perf_counter=lambda: now))
    admission = door(most=1)
    async with at(admission) as requests:
        requests.arrive()
        await until(lambda: requests.begun == [0])
        requests.arrive(CALM_QUEUE)
        await until(lambda: admission.queued == CALM_QUEUE)
        now += GROWING_SECONDS * 1.1
        requests.arrive(SPARE_PLACES + 1)
        last = CALM_QUEUE + SPARE_PLACES + 1
        await until(lambda: requests.refused() == [*range(1, CALM_QUEUE + 1), last])


async def test_who_waits_too_long_is_refused_with_a_wait() -> None:
    async with at(door(most=1, seconds=0.02)) as requests:
        requests.arrive()
        await until(lambda: requests.begun == [0])
        requests.arrive()
        await until(lambda: requests.refused() == [1])
    error = requests.tasks[1].exception()
    assert isinstance(error, OverloadedError)
    least, most = RETRY_SECONDS
    assert error.retry_after is not None
    assert least <= error.retry_after <= most
    assert "query service" in error.message


async def test_nobody_waits_beyond_the_callers_deadline() -> None:
    admission = door(most=1)
    async with admission.admitted():
        with pytest.raises(OverloadedError):
            async with asyncio.timeout(20), admission.admitted(lambda: Deadline.after(0.02)):
                pytest.fail("there was room")
        assert admission.queued == 0
    assert admission.running == 0


async def busy_turn() -> None:
    """One turn of a loop that has something to do."""
    time.sleep(2 * SHORT_SECONDS)  # noqa: ASYNC251 # it is what the loop does
    await asyncio.sleep(0)


async def test_in_a_busy_loop_nobody_begins_while_requests_arrive_one_behind_the_other() -> None:
    async with at(door()) as requests:
        for _ in range(20):
            requests.arrive()
            await busy_turn()
        # The first found nobody there.
        assert requests.begun == [0]
        await until(lambda: len(requests.begun) == 20)


async def test_some_begin_although_requests_never_cease_to_arrive() -> None:
    async with at(door(queued=1000)) as requests:
        for _ in range(400):
            requests.arrive()
            await busy_turn()
        assert len(requests.begun) > 2


async def test_one_that_is_cancelled_while_it_waits_takes_no_room() -> None:
    admission = door(most=1)
    async with at(admission) as requests:
        requests.arrive()
        await until(lambda: requests.begun == [0])
        requests.arrive(2)
        await until(lambda: admission.queued == 2)
        requests.tasks[2].cancel()
        await until(lambda: admission.queued == 1)
        requests.end.set()
        await until(lambda: requests.begun == [0, 1])
    assert (admission.running, admission.queued) == (0, 0)


async def test_one_that_is_cancelled_when_its_turn_comes_takes_no_room() -> None:
    admission = door(most=1)
    async with at(admission) as requests:
        requests.arrive()
        await until(lambda: requests.begun == [0])
        requests.arrive()
        await until(lambda: admission.queued == 1)
        turn = admission._waiting[0].turn
        requests.end.set()
        while not turn.done():  # noqa: ASYNC110 # the very turn of the loop matters
            await asyncio.sleep(0)
        requests.tasks[1].cancel()
        await until(requests.tasks[1].done)
    assert requests.tasks[1].cancelled()
    assert admission.running == 0


async def test_indexing_has_a_share_of_its_own() -> None:
    admission = door(indexing=1)
    async with at(admission) as requests:
        requests.arrive(indexing=True)
        await until(lambda: requests.begun == [0])
        requests.arrive(indexing=True)
        await until(lambda: requests.refused() == [1])
        requests.arrive()
        await until(lambda: requests.begun == [0, 2])
    assert admission.running_indexing == 0


async def test_its_numbers_are_read_with_the_metrics() -> None:
    registry, gauges, admission = CollectorRegistry(), LiveGauges(), door(most=1, queued=1)
    registry.register(gauges)
    admission.show(gauges)
    async with at(admission) as requests:
        requests.arrive()
        await until(lambda: requests.begun == [0])
        requests.arrive(3)
        await until(lambda: len(requests.refused()) == 2)
        for name, value in {"running": 1, "queued": 1, "refused": 2}.items():
            labels = {"service": "query"}
            assert registry.get_sample_value(f"cascada_admission_{name}", labels) == value
