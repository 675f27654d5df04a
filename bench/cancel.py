"""How soon a provider sees that a call was cancelled: from the client's cancel to the disconnect.

Three hops lie between them. Client and provider run in this process, the services in another.
"""

import asyncio
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from rich.table import Table

from bench.pages import PERFORMANCE, publish
from bench.scene import PROVIDERS, Scene, serving
from config_core.convert import provider_to_wire
from config_core.model_configuration import ModelProvider
from tests.upstream.behaviours import Broken, Silence
from tests.upstream.exchange import Received

CALLS = 50
TARGET_MS = 100

_WAIT_SECONDS = 10.0


def main() -> None:
    """Measure, print the table and write it into the page."""
    publish(PERFORMANCE, "cancel", asyncio.run(_measured()))


async def _measured() -> Table:
    table = Table(title=f"Cancel to disconnect, {CALLS} calls each, target {TARGET_MS} ms")
    for name in ("provider", "call"):
        table.add_column(name)
    for name in ("min ms", "median ms", "max ms"):
        table.add_column(name, justify="right")
    async with serving() as scene:
        for provider in PROVIDERS:
            for operation in ("unary", "stream"):
                await _cancel(scene, provider, operation)  # the first makes the client
                figures = [await _cancel(scene, provider, operation) for _ in range(CALLS)]
                _row(table, provider, operation, figures)
    return table


def _row(table: Table, provider: str, operation: str, seconds: Sequence[float]) -> None:
    figures = (min(seconds), median(seconds), max(seconds))
    table.add_row(provider, operation, *(f"{figure * 1000:.1f}" for figure in figures))


async def _cancel(scene: Scene, provider: ModelProvider, operation: str) -> float:
    """Cancel a call whose answer is awaited, or a stream after its first pieces; the seconds."""
    configuration = ModelConfiguration(chat_provider=provider_to_wire(provider))
    upstream = scene.upstream
    upstream.requests.clear()
    call: Any
    if operation == "stream":
        upstream.default = Broken("stall")
        request = pb.StreamExecuteRequest(message="hola", model_configuration=configuration)
        call = scene.agent.StreamExecute(request, timeout=_WAIT_SECONDS)
        await call.read()
        received = await upstream.received()
    else:
        upstream.default = Silence()
        whole = pb.ExecuteRequest(message="hola", model_configuration=configuration)
        call = scene.agent.Execute(whole, timeout=_WAIT_SECONDS)
        received = await upstream.received()
    if received.over.is_set():
        raise RuntimeError("The call was over before it was cancelled.")
    began = time.perf_counter()
    call.cancel()
    await _gone(received)
    return time.perf_counter() - began


async def _gone(received: Received) -> None:
    async with asyncio.timeout(_WAIT_SECONDS):
        await received.over.wait()
    if not received.left:
        raise RuntimeError("The provider answered a call that was cancelled.")
