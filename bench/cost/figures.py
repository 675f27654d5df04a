"""One work, measured: many requests at a concurrency, against processes whose CPU is read."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from bench.cost.processes import cpu_seconds, resident_bytes

Request = Callable[[int], Awaitable[object]]
"""Makes the request of a number, and waits for its whole answer."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a request costs in one work at one concurrency."""

    cpu_milliseconds: float
    """Of all measured processes together, user and system."""
    requests_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    resident_megabytes: float


async def measure(
    request: Request, pids: Sequence[int], *, count: int, at_once: int, warm: int = 200
) -> Figures:
    """Make `count` requests after `warm` others, and divide."""
    await _make(request, warm, at_once)
    before, began = cpu_seconds(pids), time.perf_counter()
    latencies = await _make(request, count, at_once)
    seconds = time.perf_counter() - began
    cpu = cpu_seconds(pids) - before
    cuts = quantiles(latencies, n=100)
    return Figures(
        cpu_milliseconds=cpu * 1000 / count,
        requests_per_second=count / seconds,
        p50_milliseconds=cuts[49] * 1000,
        p99_milliseconds=cuts[98] * 1000,
        resident_megabytes=resident_bytes(pids) / 2**20,
    )


async def _make(request: Request, count: int, at_once: int) -> list[float]:
    latencies: list[float] = []
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            began = time.perf_counter()
            await request(number)
            latencies.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(caller())
    return latencies
