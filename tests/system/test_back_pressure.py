"""A reader who does not read: what a stream holds in the services stays bounded, and it ends."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.query.v1 import query_service_pb2
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from bench.cost.processes import resident_bytes
from tests.system.asking import UPSTREAM_MODELS, base_urls
from tests.system.cluster import Cluster
from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Exchange
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

PIECE = "x" * 65_536
MOST = 96 * 2**20
"""What one stream may hold, on all its hops and in the kernel; the windows grow to some MB each."""
DEADLINE = 8.0
STILL = 1.0


@dataclass
class Endless:
    """A stream without end, as fast as it is read."""

    sent: int = 0

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Write until the reader is gone."""
        frames = Answer(Content(pieces=(PIECE,))).frames(exchange)
        response = await exchange.begin()
        await response.write(frames[0])
        while True:
            await response.write(frames[1])
            self.sent += len(PIECE)


async def stands_still(endless: Endless) -> None:
    """Return once nothing more is read."""
    while True:
        before = endless.sent
        await asyncio.sleep(STILL)
        if before == endless.sent > 0:
            return


@pytest.mark.parametrize("service", ["query", "agent-execution"])
@pytest.mark.parametrize("processes", ["one", pytest.param("three", marks=pytest.mark.full)])
async def test_a_stream_that_nobody_reads_holds_little_and_ends_at_its_deadline(
    tmp_path: Path, upstream: UpstreamServer, service: str, processes: str
) -> None:
    environ = {**UPSTREAM_MODELS, **base_urls(upstream), "OPENAI_API_KEY": "a-key-1"}
    endless = Endless()
    async with Cluster(tmp_path, environ) as cluster:
        if processes == "one":
            await cluster.serve_all()
        else:
            await cluster.serve_each()
        pids = [program.process.pid for program in cluster.programs]
        before = resident_bytes(pids)
        upstream.script(endless)
        channel = cluster.channel(service)
        call: grpc.aio.UnaryStreamCall[Any, Any]
        if service == "query":
            asked = query_service_pb2.StreamQueryRequest(message="hola")
            call = QueryServiceStub(channel).StreamQuery(asked, timeout=DEADLINE)
        else:
            request = agent_execution.StreamExecuteRequest(message="hola")
            call = AgentExecutionServiceStub(channel).StreamExecute(request, timeout=DEADLINE)
        received = await upstream.received()
        async with asyncio.timeout(DEADLINE):
            await stands_still(endless)
        assert resident_bytes(pids) - before < MOST
        assert endless.sent < MOST
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(10):
            await received.over.wait()
