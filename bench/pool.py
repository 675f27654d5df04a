"""How well connections to a provider are shared: the same requests with one key and with many.

The provider counts the TCP connections that are new to it; the services' metrics say how many
clients they made.
"""

import asyncio
import time
import urllib.request
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median

from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from rich.console import Console
from rich.table import Table

from bench.scene import PROVIDERS, Scene, serving
from config_core.convert import provider_to_wire
from config_core.model_configuration import ModelProvider
from tests.system.cluster import free_ports

REQUESTS = 1_000
ROUNDS = 3
KEYS = (1, 200)
AT_ONCE = 16

_CALL_SECONDS = 30.0


@dataclass(frozen=True)
class _Run:
    """Services of their own for one number of keys."""

    scene: Scene
    metrics: int
    keys: int
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print the table."""
    Console().print(asyncio.run(_measured()))


async def _measured() -> Table:
    title = f"{ROUNDS} x {REQUESTS:,} requests, {AT_ONCE} at once, by the number of callers' keys"
    table = Table(title=title)
    table.add_column("provider")
    for name in ("keys", "new TCP connections", "clients made", "median requests/s", "to 1 key"):
        table.add_column(name, justify="right")
    for provider in PROVIDERS:
        async with AsyncExitStack() as stack:
            runs = [await _start(stack, provider, keys) for keys in KEYS]
            for _ in range(ROUNDS):
                for run in runs:  # in turn, so that what else the machine does meets both
                    began = time.perf_counter()
                    await _ask_all(run.scene, provider, run.keys, REQUESTS)
                    run.seconds.append(time.perf_counter() - began)
            for run in runs:
                table.add_row(provider, *await _figures(run, runs[0]))
    return table


async def _start(stack: AsyncExitStack, provider: ModelProvider, keys: int) -> _Run:
    (metrics,) = free_ports(1)
    scene = await stack.enter_async_context(serving({"CASCADA_METRICS_PORT": str(metrics)}))
    await _ask_all(scene, provider, 1, 1)  # the SDK is imported at its first use
    scene.upstream.requests.clear()
    return _Run(scene, metrics, keys)


async def _figures(run: _Run, first: _Run) -> tuple[str, ...]:
    connections = {received.connection for received in run.scene.upstream.requests}
    made = await asyncio.to_thread(_clients_made, run.metrics)
    per_second = REQUESTS / median(run.seconds)
    ratio = median(first.seconds) / median(run.seconds)
    return str(run.keys), str(len(connections)), str(made), f"{per_second:.0f}", f"{ratio:.2f}"


async def _ask_all(scene: Scene, provider: ModelProvider, keys: int, count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            configuration = ModelConfiguration(
                chat_provider=provider_to_wire(provider),
                chat_api_key=f"sk-caller-{number % keys}-0123456789",
            )
            request = pb.ExecuteRequest(message="hola", model_configuration=configuration)
            await scene.agent.Execute(request, timeout=_CALL_SECONDS)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def _clients_made(port: int) -> int:
    """What the query service says of its pool."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    head = 'cascada_upstream_pool{service="query",what="made"} '
    line = next(line for line in text.splitlines() if line.startswith(head))
    return int(float(line.removeprefix(head)))
