"""Real processes for a test: each service alone, or all in one, on ports of their own.

async with Cluster(tmp_path, environ) as cluster:
    await cluster.serve_all()                                # or:
    await cluster.serve_each({"query": {"OPENAI_API_KEY": key}})
    response = await cluster.execute("hola")
    assert "secret" not in cluster.logs()

Whatever still runs at the end is stopped, and killed if it doesn't stop.
"""

import asyncio
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.system.program import Program, run

SERVICES = ("embedding", "query", "agent-execution")
NOTHING: Mapping[str, str] = MappingProxyType({})

CALL_SECONDS = 30.0
_START_SECONDS = 30.0

_given = set[int]()
"""Ports that some test of this process has, or has had."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_CHANNEL_OPTIONS = (
    # A service that still starts is found at once.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    # Channels of one target share a connection otherwise, and with it what it knows of the target.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class Cluster:
    """The services over one data folder, with an environment that is nothing but what is given."""

    def __init__(self, folder: Path, environ: Mapping[str, str] = NOTHING) -> None:
        """`environ` is every process's."""
        self.folder = folder
        self.data = folder / "data"
        self.ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        self.programs: list[Program] = []
        self._environ = environ
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels.values():
            await channel.close()
        await asyncio.gather(*(program.stop() for program in self.programs))

    async def serve_all(self, environ: Mapping[str, str] = NOTHING) -> Program:
        """Start `cascada serve all` and wait until each service serves."""
        program = await self.start("-m", "cli", "serve", "all", "--json", environ=environ)
        for service in SERVICES:
            await self.serving(service, program)
        return program

    async def serve_each(
        self, environs: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    ) -> dict[str, Program]:
        """Start each service alone, with further variables by its name; wait until all serve."""
        programs = {
            service: await self._start_alone(service, environs.get(service, NOTHING))
            for service in SERVICES
        }
        for service, program in programs.items():
            await self.serving(service, program)
        return programs

    async def serve(self, service: str, environ: Mapping[str, str] = NOTHING) -> Program:
        """Start one service alone and wait until it serves."""
        program = await self._start_alone(service, environ)
        await self.serving(service, program)
        return program

    async def start(
        self, *arguments: str, environ: Mapping[str, str] = NOTHING, stdin: bool = False
    ) -> Program:
        """Start this interpreter with the arguments, and wait for nothing."""
        number = len(self.programs)
        program = await run(
            sys.executable,
            *arguments,
            environ={**self._own_environ(), **self._environ, **environ},
            folder=self.folder,
            name=f"{number}-{'-'.join(arguments).strip('-')}",
            stdin=stdin,
        )
        self.programs.append(program)
        return program

    async def serving(self, service: str, program: Program) -> None:
        """Wait until a service says SERVING; a failure with the log if the process ends instead."""
        ended = asyncio.create_task(program.process.wait())
        serves = asyncio.create_task(self._serves(service))
        try:
            async with asyncio.timeout(_START_SECONDS):
                await asyncio.wait([ended, serves], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        finally:
            ended.cancel()
            serves.cancel()
            await asyncio.wait([ended, serves])
        assert not serves.cancelled(), f"{service} does not serve:\n{program.text}"
        serves.result()

    def target(self, service: str) -> str:
        """The gRPC target of a service."""
        return f"127.0.0.1:{self.ports[service]}"

    def channel(self, service: str) -> grpc.aio.Channel:
        """The channel to a service."""
        if service not in self._channels:
            self._channels[service] = open_channel(self.target(service))
        return self._channels[service]

    async def execute(self, message: str, **fields: Any) -> agent_execution.ExecuteResponse:
        """Ask the agent execution service."""
        request = agent_execution.ExecuteRequest(message=message, **fields)
        stub = AgentExecutionServiceStub(self.channel("agent-execution"))
        return await stub.Execute(request, timeout=CALL_SECONDS)

    @property
    def query(self) -> "QueryServiceStub":
        """The query service."""
        return QueryServiceStub(self.channel("query"))

    def logs(self) -> str:
        """Everything that all processes have written."""
        return "".join(program.text for program in self.programs)

    async def _start_alone(self, service: str, environ: Mapping[str, str]) -> Program:
        return await self.start("-m", service.replace("-", "_"), environ=environ)

    async def _serves(self, service: str) -> None:
        async with health_watch(self.target(service)) as states:
            async for state in states:
                if state == _SERVING:
                    return

    def _own_environ(self) -> dict[str, str]:
        return {
            **{
                f"CASCADA_{service.replace('-', '_').upper()}_PORT": str(port)
                for service, port in self.ports.items()
            },
            "CASCADA_METRICS_PORT": "0",
            "CASCADA_DATA_DIR": str(self.data),
            "CASCADA_LOG_LEVEL": "debug",
        }


@asynccontextmanager
async def health_watch(target: str, service: str = "") -> AsyncIterator[AsyncIterator[int]]:
    """The states of a service's health as they change; waits for a server that still starts."""
    async with open_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)

        async def states() -> AsyncIterator[int]:
            async for response in call:
                yield response.status

        try:
            yield states()
        finally:
            call.cancel()


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to a service that may still start, or start again."""
    return grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)


def free_ports(count: int) -> Sequence[int]:
    """Ports that nothing listens on, and that no outgoing connection or other test takes."""
    first, last = _own_ports(os.environ.get("PYTEST_XDIST_WORKER", ""))
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(first, last)  # noqa: S311 # a port is no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            found.append(port)
            _given.add(port)
    return found


def _own_ports(worker: str) -> tuple[int, int]:
    """The range of one of the processes that run tests, such as `gw0`; all of it without them."""
    if not worker:
        return 20_000, 32_000
    first = 20_000 + 3_000 * (int(worker.removeprefix("gw")) % 4)
    return first, first + 3_000
