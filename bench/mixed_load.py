"""A mixed load on all three services in one process: answers, streams and indexing, at a rate.

The arrivals are random and do not wait for answers, as callers who know nothing of one another.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from bench.cost.processes import free_port, listening, python, resident_bytes, running
from bench.cost.services import services
from config_core.errors import Reason
from service_core.channel import create_channel
from service_core.status import from_status
from tests.system.asking import index, index_all, searched

SHARES: Mapping[str, int] = {"answer": 70, "stream": 25, "index": 5}
"""Of a hundred requests."""
DOCUMENTS = 5
"""In each request that indexes; each is one passage."""
UPSTREAM_SECONDS = 0.05
TOKENS = 20

_COLLECTION, _WRITTEN = "bench", "written"
_PASSAGES = 500
_QUESTION = "Which river flows through the town?"
_CALL_SECONDS = 60.0
_CHANNELS = 4
_SAMPLE_SECONDS = 0.5


@dataclass(slots=True)
class Outcomes:
    """How the requests of one run have ended."""

    seconds: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SHARES})
    """Of those that were answered, by kind."""
    refused: int = 0
    """OVERLOADED, with a wait."""
    failed: Counter[str] = field(default_factory=Counter)
    """Any other error, by its code and text."""
    most_resident: int = 0
    """Bytes of the services' process, the most that were seen."""

    @property
    def answered(self) -> int:
        """How many were."""
        return sum(map(len, self.latencies.values()))


class MixedLoad:
    """Makes requests to services that run."""

    def __init__(self, pid: int, agent: str, query: str) -> None:
        """`agent` and `query` are the targets; `pid` is the process whose memory is watched."""
        self._pid = pid
        self._agents = [create_channel(agent) for _ in range(_CHANNELS)]
        self._query = create_channel(query)
        self._random = random.Random(7)  # noqa: S311 # a load is no secret
        self._number = 0

    async def close(self) -> None:
        """Close the channels."""
        for channel in (*self._agents, self._query):
            await channel.close()

    async def prepare(self) -> None:
        """Index what is searched."""
        texts = {
            f"doc-{n:04}": f"The river number {n} flows through the town number {n}."
            for n in range(_PASSAGES)
        }
        await index_all(QueryServiceStub(self._query), texts, _COLLECTION)

    async def in_turn(self, callers: int, seconds: float) -> Outcomes:
        """Callers who each wait for their answer before they ask again: what can be done at all."""
        outcomes = Outcomes()
        end = time.perf_counter() + seconds

        async def caller() -> None:
            while time.perf_counter() < end:
                await self._one(outcomes)

        await self._watched(outcomes, asyncio.gather(*(caller() for _ in range(callers))))
        return outcomes

    async def at_rate(self, rate: float, seconds: float) -> Outcomes:
        """Requests at a rate a second."""
        outcomes = Outcomes()

        async def arrive() -> None:
            loop = asyncio.get_running_loop()
            async with asyncio.TaskGroup() as group:
                at = loop.time()
                end = at + seconds
                while at < end:
                    at += self._random.expovariate(rate)
                    await asyncio.sleep(max(0.0, at - loop.time()))
                    group.create_task(self._one(outcomes))

        await self._watched(outcomes, arrive())
        outcomes.seconds = max(outcomes.seconds, seconds)
        return outcomes

    async def _watched(self, outcomes: Outcomes, work: Awaitable[object]) -> None:
        began = time.perf_counter()
        watch = asyncio.create_task(self._watch(outcomes))
        try:
            await work
        finally:
            watch.cancel()
        outcomes.seconds = time.perf_counter() - began

    async def _watch(self, outcomes: Outcomes) -> None:
        while True:
            outcomes.most_resident = max(outcomes.most_resident, resident_bytes([self._pid]))
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _one(self, outcomes: Outcomes) -> None:
        self._number += 1
        (kind,) = self._random.choices(list(SHARES), list(SHARES.values()))
        makes: Mapping[str, Callable[[int], Awaitable[None]]] = {
            "answer": self._answer,
            "stream": self._stream,
            "index": self._index,
        }
        began = time.perf_counter()
        try:
            await makes[kind](self._number)
        except grpc.aio.AioRpcError as error:
            found = from_status(error, "measured")
            if found.code_reason is Reason.OVERLOADED and found.retry_after is not None:
                outcomes.refused += 1
            else:
                outcomes.failed[f"{error.code().name}: {error.details()}"] += 1
        else:
            outcomes.latencies[kind].append(time.perf_counter() - began)

    def _agent(self, number: int) -> "AgentExecutionServiceStub":
        return AgentExecutionServiceStub(self._agents[number % _CHANNELS])

    async def _answer(self, number: int) -> None:
        request = pb.ExecuteRequest(message=_QUESTION, retrieval=searched(_COLLECTION))
        await self._agent(number).Execute(request, timeout=_CALL_SECONDS)

    async def _stream(self, number: int) -> None:
        request = pb.StreamExecuteRequest(message=_QUESTION, retrieval=searched(_COLLECTION))
        async for _ in self._agent(number).StreamExecute(request, timeout=_CALL_SECONDS):
            pass

    async def _index(self, number: int) -> None:
        texts = {
            f"doc-{number % 200}-{n}": f"The road number {number} leads to the village number {n}."
            for n in range(DOCUMENTS)
        }
        async for _ in index(QueryServiceStub(self._query), texts, _WRITTEN):
            pass


@asynccontextmanager
async def mixed_load(folder: Path, own: Mapping[str, str]) -> AsyncIterator[MixedLoad]:
    """Run `cascada serve all` before a canned provider, with documents to search."""
    port = free_port()
    upstream = python(
        "-m", "bench.upstream", str(port), f"--wait={UPSTREAM_SECONDS}", f"--tokens={TOKENS}"
    )
    async with running(upstream):
        await listening(port)
        async with services(folder, port, together=True, own=own) as ours:
            (pid,) = set(ours.pids.values())
            load = MixedLoad(pid, ours.target("agent-execution"), ours.target("query"))
            try:
                await load.prepare()
                yield load
            finally:
                await load.close()
