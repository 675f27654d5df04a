"""SIGTERM: what runs may finish, nothing new begins, and the exit code is 0."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub

from tests.system.asking import UPSTREAM_MODELS, Paced, base_urls
from tests.system.cluster import CALL_SECONDS, Cluster
from tests.system.program import Program
from tests.system.waiting import until
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

PIECES = list(Content().pieces)


@pytest.fixture(params=["one process", "three processes"])
async def programs(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: UpstreamServer
) -> AsyncIterator[tuple[Cluster, list[Program]]]:
    """Give the services, in one process or in three."""
    environ = {**UPSTREAM_MODELS, **base_urls(upstream), "OPENAI_API_KEY": "a-key-1"}
    async with Cluster(tmp_path, environ) as cluster:
        if request.param == "one process":
            await cluster.serve_all()
        else:
            await cluster.serve_each()
        yield cluster, cluster.programs


@asynccontextmanager
async def begun_stream(
    cluster: Cluster, upstream: UpstreamServer
) -> AsyncIterator[tuple[Paced, AsyncIterator[agent_execution.StreamExecuteResponse]]]:
    """A stream of which the first piece has come."""
    paced = Paced()
    upstream.script(paced)
    stub = AgentExecutionServiceStub(cluster.channel("agent-execution"))
    request = agent_execution.StreamExecuteRequest(message="hola")
    call = stub.StreamExecute(request, timeout=CALL_SECONDS)
    events = call.__aiter__()
    paced.release(2)  # the role's event and the first piece
    assert (await anext(events)).delta == PIECES[0]
    try:
        yield paced, events
    finally:
        call.cancel()


async def refusal(cluster: Cluster) -> grpc.StatusCode:
    """Ask until it is refused; how."""
    async with asyncio.timeout(CALL_SECONDS):
        while True:
            try:
                await cluster.execute("hola")
            except grpc.aio.AioRpcError as error:
                return error.code()


async def test_a_running_stream_finishes_after_sigterm_and_the_exit_code_is_0(
    programs: tuple[Cluster, list[Program]], upstream: UpstreamServer
) -> None:
    cluster, running = programs
    async with begun_stream(cluster, upstream) as (paced, events):
        for program in running:
            program.signal(signal.SIGTERM)
        await until(lambda: all('"stopping"' in program.text for program in running), "the drain")
        paced.release(len(PIECES))
        rest = [event async for event in events]
    assert [event.delta for event in rest[:-1]] == PIECES[1:]
    assert rest[-1].completed.answer == Content().text
    assert [await program.ended() for program in running] == [0] * len(running)


async def test_after_sigterm_no_new_call_is_taken_while_a_stream_still_runs(
    programs: tuple[Cluster, list[Program]], upstream: UpstreamServer
) -> None:
    cluster, running = programs
    async with begun_stream(cluster, upstream) as (paced, events):
        for program in running:
            program.signal(signal.SIGTERM)
        # CANCELLED is what gRPC's core says to a call that crosses the end of listening.
        assert await refusal(cluster) in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        paced.release(len(PIECES))
        assert [event async for event in events][-1].completed.answer == Content().text
