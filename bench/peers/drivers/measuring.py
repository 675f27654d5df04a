"""What the drivers share. They run in the peers' environments, with nothing of ours."""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles

Request = Callable[[], Awaitable[object]]


async def report(request: Request, count: int, at_once: int) -> None:
    """Make requests, and print what they cost as JSON."""
    await _make(request, count // 5, at_once)
    before, began = _cpu(), time.perf_counter()
    latencies = await _make(request, count, at_once)
    seconds, cpu = time.perf_counter() - began, _cpu() - before
    cuts = quantiles(latencies, n=100)
    figures = {
        "cpu_milliseconds": cpu * 1000 / count,
        "requests_per_second": count / seconds,
        "p50_milliseconds": cuts[49] * 1000,
        "p99_milliseconds": cuts[98] * 1000,
        "resident_megabytes": _resident_bytes() / 2**20,
    }
    sys.stdout.write(f"\n{json.dumps(figures)}\n")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _make(request: Request, count: int, at_once: int) -> list[float]:
    latencies: list[float] = []
    numbers = iter(range(count))

    async def caller() -> None:
        for _ in numbers:
            began = time.perf_counter()
            await request()
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(at_once)))
    return latencies
