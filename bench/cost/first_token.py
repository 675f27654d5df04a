"""How much later the first token of a stream comes through Cascada than straight from the provider.

Both are asked in turn, so that what else the machine does is the same for both.
"""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import aiohttp
import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub

from bench.cost.floors import CHAT
from bench.cost.services import services
from bench.cost.works import QUESTION

STREAMS = 300
_WARM = 30


async def measured(folder: Path, provider: int) -> tuple[float, float]:
    """The p50 in milliseconds to the first token: from the provider, and through two services."""
    url = f"http://127.0.0.1:{provider}/v1/chat/completions"
    async with (
        services(folder, provider, ("query", "agent-execution")) as ours,
        grpc.aio.insecure_channel(ours.target("agent-execution")) as channel,
        aiohttp.ClientSession() as session,
    ):
        stub = AgentExecutionServiceStub(channel)

        async def straight() -> float:
            began = time.perf_counter()
            async with session.post(url, json={**CHAT, "stream": True}) as response:
                await response.content.readuntil(b"\n\n")
                took = time.perf_counter() - began
                await response.read()
                return took

        async def through() -> float:
            began = time.perf_counter()
            call = stub.StreamExecute(agent_pb.StreamExecuteRequest(message=QUESTION), timeout=30)
            await call.read()
            took = time.perf_counter() - began
            while await call.read() is not grpc.aio.EOF:
                pass
            return took

        return await _medians(straight, through)


async def _medians(
    one: Callable[[], Awaitable[float]], other: Callable[[], Awaitable[float]]
) -> tuple[float, float]:
    for _ in range(_WARM):
        await one()
        await other()
    pairs = [(await one(), await other()) for _ in range(STREAMS)]
    first, second = (median(times) * 1000 for times in zip(*pairs, strict=True))
    return first, second
