"""Every service restarted in turn under load: no request fails whose caller may ask again."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from tests.system.asking import UPSTREAM_MODELS, base_urls, index_all, searched
from tests.system.cluster import CALL_SECONDS, SERVICES, Cluster, free_ports
from tests.system.program import Program
from tests.upstream.server import UpstreamServer

CALLERS = 4

# What gRPC's own documentation tells clients to do: spread, follow health, retry UNAVAILABLE.
RETRY_SAFE = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)


class Pairs:
    """Two instances of each service, which reach one another at both."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ports = {service: free_ports(2) for service in SERVICES}
        self.programs: dict[tuple[str, int], Program] = {}

    def target(self, service: str) -> str:
        """Both instances of a service."""
        return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in self._ports[service])

    async def start(self, service: str, number: int) -> None:
        """Start an instance and wait until it serves."""
        port = self._ports[service][number]
        self._cluster.ports[service] = port
        environ: Mapping[str, str] = {
            f"CASCADA_{service.replace('-', '_').upper()}_PORT": str(port),
            "CASCADA_QUERY_TARGET": self.target("query"),
            "CASCADA_EMBEDDING_TARGET": self.target("embedding"),
            "CASCADA_SETTLE_SECONDS": "1",
        }
        program = await self._cluster.start("-m", service.replace("-", "_"), environ=environ)
        await self._cluster.serving(service, program)
        self.programs[service, number] = program

    async def restart(self, service: str, number: int) -> None:
        """End an instance as a supervisor does, and start another in its place."""
        assert await self.programs[service, number].stop() == 0
        await self.start(service, number)


@asynccontextmanager
async def asking(target: str) -> AsyncIterator[list[str]]:
    """Callers who ask without pause, answers and streams; what has failed."""
    failures: list[str] = []
    done = asyncio.Event()
    answered = 0
    options = [("grpc.service_config", RETRY_SAFE), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        stub = AgentExecutionServiceStub(channel)

        async def caller(number: int) -> None:
            nonlocal answered
            while not done.is_set():
                try:
                    if number % 2:
                        request = pb.ExecuteRequest(message="hola", retrieval=searched())
                        await stub.Execute(request, timeout=CALL_SECONDS)
                    else:
                        streamed = pb.StreamExecuteRequest(message="hola", retrieval=searched())
                        events = stub.StreamExecute(streamed, timeout=CALL_SECONDS)
                        last = [event async for event in events][-1]
                        assert last.HasField("completed")
                except grpc.aio.AioRpcError as error:
                    failures.append(f"{error.code().name}: {error.details()}")
                else:
                    answered += 1

        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(caller(number))
            try:
                yield failures
            finally:
                done.set()
    assert answered > 0


@pytest.mark.full
async def test_no_request_fails_while_every_service_is_restarted_in_turn(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    environ = {
        **UPSTREAM_MODELS,
        **base_urls(upstream),
        "OPENAI_API_KEY": "a-key-1",
        "CASCADA_LOG_LEVEL": "warning",
    }
    async with Cluster(tmp_path, environ) as cluster:
        pairs = Pairs(cluster)
        for service in SERVICES:
            for number in range(2):
                await pairs.start(service, number)
        await index_all(QueryServiceStub(cluster.channel("query")))
        async with asking(pairs.target("agent-execution")) as failures:
            for service in reversed(SERVICES):
                for number in range(2):
                    await pairs.restart(service, number)
        assert failures == []
