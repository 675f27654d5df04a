"""How well connections to a provider are shared: the same requests with one key and with many.

The provider counts the TCP connections that are new to it; the services' metrics say how many
clients they made.
"""

import asyncio
import time
import urllib.request
from dataclasses import dataclass

from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from rich.console import Console
from rich.table import Table

from bench.scene import PROVIDERS, Scene, serving
from config_core.convert import provider_to_wire
from config_core.model_configuration import ModelProvider
from tests.system.cluster import free_ports

REQUESTS = 1_000
KEYS = (1, 200)
AT_ONCE = 16

_CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Figures:
    """One run."""

    connections: int
    made: int
    per_second: float


def main() -> None:
    """Measure and print the table."""
    Console().print(asyncio.run(_measured()))


async def _measured() -> Table:
    table = Table(title=f"{REQUESTS:,} requests, {AT_ONCE} at once, with 1 key and with {KEYS[1]}")
    for name in ("provider", "keys"):
        table.add_column(name)
    for name in ("TCP connections", "clients made", "requests/s", "to 1 key"):
        table.add_column(name, justify="right")
    for provider in PROVIDERS:
        runs = [await _run(provider, keys) for keys in KEYS]
        for keys, run in zip(KEYS, runs, strict=True):
            ratio = run.per_second / runs[0].per_second
            counts = (str(keys), str(run.connections), str(run.made))
            table.add_row(provider, *counts, f"{run.per_second:.0f}", f"{ratio:.2f}")
    return table


async def _run(provider: ModelProvider, keys: int) -> Figures:
    (metrics,) = free_ports(1)
    async with serving({"CASCADA_METRICS_PORT": str(metrics)}) as scene:
        await _ask_all(scene, provider, 1, AT_ONCE)  # the SDK is imported at its first use
        scene.upstream.requests.clear()
        began = time.perf_counter()
        await _ask_all(scene, provider, keys, REQUESTS)
        seconds = time.perf_counter() - began
        connections = {received.connection for received in scene.upstream.requests}
        made = await asyncio.to_thread(_clients_made, metrics)
    return Figures(len(connections), made, REQUESTS / seconds)


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
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:  # noqa: S310 # our own
        text = response.read().decode()
    head = 'cascada_upstream_pool{service="query",what="made"} '
    line = next(line for line in text.splitlines() if line.startswith(head))
    return int(float(line.removeprefix(head)))
