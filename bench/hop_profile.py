"""What a request runs in Python, by what it is for: `cProfile` in both services of a chat.

Two runs of different length; their difference is the requests alone, without the start.
"""

import asyncio
import pstats
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from rich.table import Table

from bench.cost import works
from bench.cost.figures import measure
from bench.cost.services import services
from bench.pages import PERFORMANCE, publish

SHORT, LONG = 500, 2500
NAMES = ("query", "agent-execution")
GROUPS: Mapping[str, Sequence[str]] = {
    "configuration: layers, resolution, conversion": ("/config_core/",),
    "trace and audit": ("/service_core/trace", "/service_core/record", "/service_core/audit/"),
    "metrics, spans and the line of the log": (
        "/service_core/telemetry/",
        "/service_core/log",
        "/structlog/",
        "/prometheus_client/",
    ),
    "layers around a handler": ("/service_core/interceptors/", "/service_core/identity/"),
    "admission, deadlines, retries, the client": ("/service_core/",),
    "the service itself": ("/query/", "/agent_execution/"),
    "pydantic": ("/pydantic", "pydantic_core"),
    "aiohttp": ("/aiohttp/", "/yarl/", "/multidict/"),
    "gRPC's Python part": ("/grpc/",),
    "asyncio, context managers and the rest of Python": ("",),
}
"""By a part of the path; the first that fits. What C code takes belongs to who calls it."""

_AT_ONCE, _WARM = 16, 100
_CALL_SECONDS = 60.0
_LOOP = ("runners.py", "run")
"""The event loop's own time, and its waiting."""

_Key = tuple[str, int, str]
_Costs = dict[_Key, tuple[float, float]]
"""Calls and seconds of each function."""


def main() -> None:
    """Measure, print the table and write it into the page."""
    asyncio.run(_main())


async def _main() -> None:
    with tempfile.TemporaryDirectory() as name:
        async with works.upstream() as provider:
            short, long = [await _run(Path(name), provider, count) for count in (SHORT, LONG)]
    table = Table("what")
    for service in NAMES:
        table.add_column(f"{service}: calls", justify="right")
        table.add_column("share", justify="right")
    grouped = [_grouped(short[name], long[name]) for name in NAMES]
    for group in GROUPS:
        row = [group]
        for calls, seconds in grouped:
            row += [f"{calls[group]:.0f}", f"{seconds[group] / sum(seconds.values()):.0%}"]
        table.add_row(*row)
    row = ["together"]
    for calls, _ in grouped:
        row += [f"{sum(calls.values()):.0f}", ""]
    table.add_row(*row)
    publish(PERFORMANCE, "hop_profile", table)


async def _run(folder: Path, provider: int, count: int) -> dict[str, _Costs]:
    """The costs of each service's functions in a run of so many requests."""
    async with (
        services(folder, provider, NAMES, profiles=folder) as ours,
        grpc.aio.insecure_channel(ours.target("agent-execution")) as channel,
    ):
        stub = AgentExecutionServiceStub(channel)

        async def ask(_: int) -> object:
            request = pb.ExecuteRequest(message=works.QUESTION)
            return await stub.Execute(request, timeout=_CALL_SECONDS)

        await measure(ask, ours.cost_of(*NAMES), count=count, at_once=_AT_ONCE, warm=_WARM)
    return {name: _costs(folder / name) for name in NAMES}


def _costs(path: Path) -> _Costs:
    """Own calls and seconds; those of a C function go to its callers."""
    costs: dict[_Key, list[float]] = {}
    for key, (_, calls, seconds, _, callers) in pstats.Stats(str(path)).stats.items():  # type: ignore[attr-defined] # typeshed lacks it
        owners = {key: (0, calls, seconds, 0)} if key[0] != "~" else callers
        for owner, (_, called, spent, _) in owners.items():
            found = costs.setdefault(owner, [0.0, 0.0])
            found[0] += called
            found[1] += spent
    return {key: (calls, seconds) for key, (calls, seconds) in costs.items()}


def _grouped(short: _Costs, long: _Costs) -> tuple[dict[str, float], dict[str, float]]:
    """Calls of a request, and seconds, of each group."""
    calls, seconds = dict.fromkeys(GROUPS, 0.0), dict.fromkeys(GROUPS, 0.0)
    for key, (called, spent) in long.items():
        path, _, function = key
        if (Path(path).name, function) == _LOOP:
            continue
        group = next(name for name, parts in GROUPS.items() if any(each in path for each in parts))
        called_before, spent_before = short.get(key, (0.0, 0.0))
        calls[group] += (called - called_before) / (LONG - SHORT)
        seconds[group] += max(0.0, spent - spent_before)
    return calls, seconds
