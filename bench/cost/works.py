"""The works that are measured: each gives a request to make and the processes that serve it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.common.v1 import retrieval_pb2
from cascada.common.v1.request_context_pb2 import RequestContext
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from cascada.config.v1.model_provider_pb2 import MODEL_PROVIDER_OPENAI
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from bench.cost import messages
from bench.cost.processes import free_port, listening, python, running
from bench.cost.services import NAMES, services
from bench.retrieval import fill, finder, vectors
from bench.upstream import DIMENSIONS
from query.store import Filter, open_store
from tests.system.asking import index_all

COLLECTION = "bench"
CHUNKS = 1000
QUESTION = "Which river flows through the town?"

_CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A work that is ready: how to make a request, and who serves it."""

    request: Callable[[int], Awaitable[object]]
    pids: Sequence[int]


Work = AbstractAsyncContextManager[Prepared]


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """Run the canned provider; its port."""
    port = free_port()
    async with running(python("-m", "bench.upstream", str(port), f"--dimensions={DIMENSIONS}")):
        await listening(port)
        yield port


async def record(folder: Path, provider: int) -> None:
    """Keep the messages of a real answer, whole and streamed, for the floors."""
    async with (
        services(folder, provider, ("query",)) as ours,
        grpc.aio.insecure_channel(ours.target("query")) as channel,
    ):
        stub = QueryServiceStub(channel)
        answer = await stub.Query(pb.QueryRequest(message=QUESTION), timeout=_CALL_SECONDS)
        call = stub.StreamQuery(pb.StreamQueryRequest(message=QUESTION), timeout=_CALL_SECONDS)
        messages.save(folder, answer, [event async for event in call])


@asynccontextmanager
async def echo(folder: Path, hops: int, *, stream: bool = False) -> AsyncIterator[Prepared]:
    """Bare servers in a row; the last one answers."""
    async with AsyncExitStack() as stack:
        pids, behind = [], ""
        for _ in range(hops):
            port = free_port()
            command = python("-m", "bench.cost.floors", str(folder), str(port), behind)
            pids.append(await stack.enter_async_context(running(command)))
            await listening(port)
            behind = str(port)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{behind}"))
        yield Prepared(_query(QueryServiceStub(channel), stream=stream), pids)


@asynccontextmanager
async def bare_post(
    folder: Path, provider: int, *, stream: bool = False
) -> AsyncIterator[Prepared]:
    """A bare server that makes one bare HTTP call a request."""
    port = free_port()
    url = f"http://127.0.0.1:{provider}/v1/chat/completions"
    command = python("-m", "bench.cost.floors", str(folder), str(port), url)
    async with running(command) as pid:
        await listening(port)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Prepared(_query(QueryServiceStub(channel), stream=stream), [pid])


@asynccontextmanager
async def store_search(folder: Path) -> AsyncIterator[Prepared]:
    """The store's own search among as many vectors, in this process."""
    async with open_store(f"sqlite:///{folder / 'floor.db'}") as store:
        held = vectors(CHUNKS, DIMENSIONS, seed=1)
        await fill(store, "one", held)
        find, vector = finder(store, "one", Filter()), held[0].tobytes()

        async def search(_: int) -> object:
            return await find(vector)

        yield Prepared(search, [os.getpid()])


@asynccontextmanager
async def query_alone(folder: Path, provider: int) -> AsyncIterator[Prepared]:
    """Chat through the query service alone."""
    async with (
        services(folder, provider, ("query",)) as ours,
        grpc.aio.insecure_channel(ours.target("query")) as channel,
    ):
        yield Prepared(_query(QueryServiceStub(channel), stream=False), ours.cost_of("query"))


@asynccontextmanager
async def query_of_tenants(folder: Path, provider: int, tenants: int) -> AsyncIterator[Prepared]:
    """Chat through the query service, for another tenant with its own key at each request."""
    async with (
        services(folder, provider, ("query",)) as ours,
        grpc.aio.insecure_channel(ours.target("query")) as channel,
    ):
        stub = QueryServiceStub(channel)
        requests = [_of_tenant(number) for number in range(tenants)]

        async def ask(number: int) -> object:
            return await stub.Query(requests[number % tenants], timeout=_CALL_SECONDS)

        yield Prepared(ask, ours.cost_of("query"))


def _of_tenant(number: int) -> pb.QueryRequest:
    return pb.QueryRequest(
        message=QUESTION,
        context=RequestContext(tenant_id=f"tenant-{number:05}"),
        model_configuration=ModelConfiguration(
            chat_provider=MODEL_PROVIDER_OPENAI,
            chat_model=f"model-{number:05}",
            chat_api_key=f"sk-bench-{number:05}-0123456789",
            temperature=0.5,
        ),
    )


@asynccontextmanager
async def agent_and_query(
    folder: Path, provider: int, *, stream: bool = False
) -> AsyncIterator[Prepared]:
    """Chat through agent execution and query, two processes."""
    names = ("query", "agent-execution")
    async with (
        services(folder, provider, names) as ours,
        grpc.aio.insecure_channel(ours.target("agent-execution")) as channel,
    ):
        stub = AgentExecutionServiceStub(channel)
        yield Prepared(_execute(stub, stream=stream, retrieval=None), ours.cost_of(*names))


@asynccontextmanager
async def cascade(
    folder: Path, provider: int, *, together: bool = False
) -> AsyncIterator[Prepared]:
    """The whole cascade with retrieval over 1,000 chunks, as three processes or as one."""
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(services(folder, provider, together=together))
        query = await stack.enter_async_context(grpc.aio.insecure_channel(ours.target("query")))
        await index_all(QueryServiceStub(query), _texts(), COLLECTION)
        agent = await stack.enter_async_context(
            grpc.aio.insecure_channel(ours.target("agent-execution"))
        )
        retrieval = retrieval_pb2.Retrieval(
            collections=[COLLECTION], top_k=5, mode=retrieval_pb2.RETRIEVAL_MODE_DENSE
        )
        request = _execute(AgentExecutionServiceStub(agent), stream=False, retrieval=retrieval)
        yield Prepared(request, ours.cost_of(*NAMES))


def _texts() -> dict[str, str]:
    """Documents of one chunk each."""
    return {
        f"doc-{n:04}": f"The river number {n} flows through the town number {n}."
        for n in range(CHUNKS)
    }


def _query(stub: QueryServiceStub, *, stream: bool) -> Callable[[int], Awaitable[object]]:
    async def ask(_: int) -> object:
        return await stub.Query(pb.QueryRequest(message=QUESTION), timeout=_CALL_SECONDS)

    async def read(_: int) -> object:
        request = pb.StreamQueryRequest(message=QUESTION)
        return await _drained(stub.StreamQuery(request, timeout=_CALL_SECONDS))

    return read if stream else ask


def _execute(
    stub: AgentExecutionServiceStub, *, stream: bool, retrieval: retrieval_pb2.Retrieval | None
) -> Callable[[int], Awaitable[object]]:
    async def ask(_: int) -> object:
        request = agent_pb.ExecuteRequest(message=QUESTION, retrieval=retrieval)
        return await stub.Execute(request, timeout=_CALL_SECONDS)

    async def read(_: int) -> object:
        request = agent_pb.StreamExecuteRequest(message=QUESTION, retrieval=retrieval)
        return await _drained(stub.StreamExecute(request, timeout=_CALL_SECONDS))

    return read if stream else ask


async def _drained(call: Any) -> int:
    count = 0
    async for _ in call:
        count += 1
    return count
