"""What the tests ask a cluster, and how it ended."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_pb
from cascada.query.v1 import query_service_pb2 as query_pb
from google.rpc import error_details_pb2, status_pb2

from service_core.status_details import DOMAIN
from tests.cluster.cluster import Cluster
from tests.cluster.nodes import MEMBERS, Node
from tests.cluster.provider import SLOW
from tests.system.asking import TEXTS, index_all, searched

SECONDS = 3.0
"""The deadline of a call."""
_HANG_SECONDS = 10.0
_WHOLE_SECONDS = 60.0
_ROUND = 24

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    kind: str
    code: str
    reason: str
    """Of our error; "" where the error is not one of ours."""
    message: str

    @property
    def is_ok(self) -> bool:
        """Whether it was answered."""
        return self.code == "OK"


Call = Callable[[Cluster], Awaitable[None]]


async def execute(cluster: Cluster, word: str = "") -> None:
    """Ask for an answer from the documents, which takes every service."""
    request = agent_pb.ExecuteRequest(message=_question(word), retrieval=searched())
    response = await cluster.agent.Execute(request, timeout=SECONDS)
    assert response.answer
    assert response.citations


async def execute_slowly(cluster: Cluster) -> None:
    """The same, of a provider that takes its time."""
    await execute(cluster, SLOW)


async def stream(cluster: Cluster) -> None:
    """Ask for an answer in pieces; its end must come."""
    request = agent_pb.StreamExecuteRequest(message=_question(), retrieval=searched())
    call = cluster.agent.StreamExecute(request, timeout=SECONDS)
    try:
        events = [event async for event in call]
    finally:
        call.cancel()
    assert events[-1].HasField("completed")


async def search(cluster: Cluster) -> None:
    """Search the documents, directly at the query service."""
    request = query_pb.SearchRequest(query=_question(), retrieval=searched())
    response = await cluster.query.Search(request, timeout=SECONDS)
    assert response.hits


THROUGH_AGENTS: Sequence[Call] = (execute, execute_slowly, stream)
ALL: Sequence[Call] = (*THROUGH_AGENTS, search)


async def ask(cluster: Cluster, call: Call) -> Outcome:
    """Make a call; one that hangs beyond its deadline is a TimeoutError."""
    kind = getattr(call, "__name__", "call")
    try:
        async with asyncio.timeout(SECONDS + _HANG_SECONDS):
            await call(cluster)
    except grpc.aio.AioRpcError as error:
        return Outcome(kind, error.code().name, reason_of(error), error.details() or "")
    return Outcome(kind, "OK", "", "")


async def ask_many(cluster: Cluster, count: int, calls: Sequence[Call] = ALL) -> list[Outcome]:
    """Make many calls at once, of all kinds."""
    return await asyncio.gather(*(ask(cluster, calls[at % len(calls)]) for at in range(count)))


class Asking:
    """Calls that go on, a few at a time, while a test does something to the cluster."""

    def __init__(self, cluster: Cluster, calls: Sequence[Call] = ALL, at_once: int = 10) -> None:
        self.outcomes: list[Outcome] = []
        self._cluster = cluster
        self._calls = itertools.cycle(calls)
        self._at_once = at_once
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._go_on()) for _ in range(self._at_once)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Wait until that many more calls have ended."""
        wanted = len(self.outcomes) + count
        while len(self.outcomes) < wanted:
            await asyncio.wait(self._tasks, timeout=0.05)

    async def _go_on(self) -> None:
        while not self._over:
            self.outcomes.append(await ask(self._cluster, next(self._calls)))


def assert_typed(outcomes: Sequence[Outcome], edge: Sequence[str] = ()) -> None:
    """Each was answered, or ended in an error of ours.

    `edge` has the codes that gRPC itself may give the test, where the fault is between the test and
    the process that it calls: there is nobody to give an error of ours.
    """
    wrong = [
        outcome
        for outcome in outcomes
        if not (outcome.is_ok or outcome.reason or outcome.code in edge)
    ]
    assert not wrong, table(wrong)
    internal = [outcome for outcome in outcomes if outcome.reason == "INTERNAL"]
    assert not internal, table(internal)


def table(outcomes: Sequence[Outcome]) -> str:
    """How many ended in which way."""
    counts = Counter(outcomes)
    return "\n".join(f"{count:5} {outcome}" for outcome, count in counts.most_common())


async def assert_whole(cluster: Cluster, missing: Sequence[Node] = ()) -> None:
    """The cluster comes back by itself: all calls are answered, and every process answers some.

    `missing` are the processes that are still away.
    """
    wanted = [node for node in MEMBERS if node not in missing]
    outcomes: list[Outcome] = []
    silent: list[Node] = wanted
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            while silent or not all(outcome.is_ok for outcome in outcomes):
                before = cluster.answered()
                outcomes = await ask_many(cluster, _ROUND)
                after = cluster.answered()
                silent = [node for node in wanted if after[node] == before[node]]
    except TimeoutError:
        names = ", ".join(map(str, silent))
        raise AssertionError(f"not whole; silent: {names}\n{table(outcomes)}") from None


async def index_texts(cluster: Cluster) -> None:
    """Index the documents that the calls ask about."""
    await index_all(cluster.query, TEXTS)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of our error; "" where it is not one of ours."""
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status.ParseFromString(value)
    for detail in status.details:
        detail.Unpack(info)
    return str(info.reason) if info.domain == DOMAIN else ""


def _question(word: str = "") -> str:
    # Each text is another one, lest an answer come out of a cache.
    return f"What is the capital of France, {word} number {next(_numbers)}?"
