"""A cluster of real processes for a test: 2 agent execution, 3 query, 2 embedding, one provider.

async with Loopback(ports) as network, Cluster(folder, network, ports) as cluster:
    await cluster.start()
    cluster.signal(Node("query", 1), signal.SIGKILL)
    await cluster.restart(Node("query", 1))

All talk over mutual TLS, each service is known by its certificate, and every channel spreads its
calls over all processes of the next service and leaves out who is not healthy.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import grpc
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.authority import TRUST_DOMAIN
from cli.certs import certs
from config_core.settings import Settings
from service_core.outgoing import Outgoing
from tests.cluster.nodes import (
    CALLS,
    CALLS_UPSTREAM,
    CLIENT,
    MEMBERS,
    SIZES,
    UPSTREAM,
    Network,
    Node,
    of,
)
from tests.system.asking import UPSTREAM_MODELS
from tests.system.cluster import free_ports
from tests.system.program import Program, run
from tests.system.waiting import until

TENANT = "acme"
METRICS = "metrics"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_START_SECONDS = 60.0


def ports() -> dict[str, int]:
    """A free port for each service, for the provider and for metrics."""
    names = (*SIZES, UPSTREAM.service, METRICS)
    return dict(zip(names, free_ports(len(names)), strict=True))


def _nothing(_: Node) -> Mapping[str, str]:
    return {}


class Cluster:
    """The processes over one data folder."""

    def __init__(
        self,
        folder: Path,
        network: Network,
        ports: Mapping[str, int],
        environ: Callable[[Node], Mapping[str, str]] = _nothing,
    ) -> None:
        """`environ` gives a process's variables beside those that make it a member."""
        self.folder = folder
        self.network = network
        self.ports = ports
        self.data = folder / "data"
        self.programs: dict[Node, Program] = {}
        self._environ = environ
        self._started = 0
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        certs(self._certificates)
        self._configuration.write_text(json.dumps(_configuration()), encoding="utf-8")
        self.agent = AgentExecutionServiceStub(await self._spread("agent-execution"))
        self.query = QueryServiceStub(await self._spread("query"))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._resources.aclose()
        await self.network.heal()
        # How a process ends in good order is the subject of other tests.
        await asyncio.gather(*(self.kill(node) for node in self.programs))

    async def start(self) -> None:
        """Start all processes; returns when each serves."""
        await asyncio.gather(*(self.restart(node) for node in (UPSTREAM, *MEMBERS)))

    async def restart(self, node: Node) -> None:
        """Start a process that does not run, as what watches over it would; wait till it serves."""
        module = node.service.replace("-", "_")
        command: tuple[str, ...] = ("-m", module)
        if node == UPSTREAM:
            host, port = self.network.host(node), str(self.ports[node.service])
            command = ("-m", "tests.cluster.provider", host, port)
        self._started += 1
        program = self.programs[node] = await run(
            *self.network.command(node),
            sys.executable,
            *command,
            environ={**self._of_member(node), **self._environ(node)},
            folder=self.folder,
            name=f"{self._started}-{node}",
        )
        await (self._listening(node) if node == UPSTREAM else self._serving(node, program))

    def signal(self, node: Node, number: signal.Signals) -> None:
        """Send a process a signal."""
        self.programs[node].signal(number)

    async def kill(self, node: Node) -> None:
        """End a process at once, and wait until it is gone."""
        if self.programs[node].process.returncode is None:
            self.signal(node, signal.SIGKILL)
        await self.programs[node].ended()

    def audit(self, node: Node) -> Path:
        """Where a process writes a line for each request."""
        return self.folder / f"{node}.audit"

    def answered(self) -> dict[Node, int]:
        """How many requests each process has written into its audit."""
        return {node: self.audit(node).read_bytes().count(b"\n") for node in MEMBERS}

    async def _spread(self, service: str) -> grpc.aio.Channel:
        """The client's channel to all processes of a service."""
        channel = self._outgoing(service).channel(self._target(CLIENT, service))
        return await self._resources.enter_async_context(channel)

    def _outgoing(self, service: str) -> Outgoing:
        variables = self._shows("client") | {"CASCADA_TLS_SERVER_NAME": service}
        return Outgoing.of_command(Settings.read(variables))

    def _target(self, caller: Node, service: str) -> str:
        port = self.ports[service]
        hosts = (self.network.address(caller, called) for called in of(service))
        return "ipv4:" + ",".join(f"{host}:{port}" for host in hosts)

    async def _serving(self, node: Node, program: Program) -> None:
        target = f"{self.network.host(node)}:{self.ports[node.service]}"
        ended = asyncio.create_task(program.process.wait())
        serves = asyncio.create_task(self._serves(target, node.service))
        try:
            async with asyncio.timeout(_START_SECONDS):
                await asyncio.wait([ended, serves], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            serves.cancel()
            await asyncio.wait([ended, serves])
        assert not serves.cancelled(), f"{node} does not serve:\n{program.text}"
        serves.result()

    async def _serves(self, target: str, service: str) -> None:
        async with self._outgoing(service).channel(target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            call = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            try:
                async for response in call:
                    if response.status == _SERVING:
                        return
            finally:
                call.cancel()

    async def _listening(self, node: Node) -> None:
        text = self.programs[node]
        await until(lambda: "listens" in text.text, f"{node} to listen")

    def _of_member(self, node: Node) -> dict[str, str]:
        if node == UPSTREAM:
            return {}
        called = CALLS.get(node.service)
        variables = {
            **UPSTREAM_MODELS,
            **self._shows(node.service),
            "CASCADA_HOST": self.network.host(node),
            f"CASCADA_{_variable(node.service)}_PORT": str(self.ports[node.service]),
            "CASCADA_METRICS_PORT": str(self.ports[METRICS]),
            "CASCADA_DATA_DIR": str(self.data),
            "CASCADA_CONFIG_FILE": str(self._configuration),
            "CASCADA_AUDIT_FILE": str(self.audit(node)),
            "CASCADA_GRACE_SECONDS": "5",
            "CASCADA_TLS_CERT_FILE": str(self._certificates / f"{node.service}.pem"),
            "CASCADA_TLS_KEY_FILE": str(self._certificates / f"{node.service}.key"),
            "CASCADA_TLS_CLIENT_CA_FILE": str(self._certificates / "ca.pem"),
        }
        if called is not None:
            variables[f"CASCADA_{_variable(called)}_TARGET"] = self._target(node, called)
            variables["CASCADA_TLS_SERVER_NAME"] = called
        if node.service in CALLS_UPSTREAM:
            host = self.network.address(node, UPSTREAM)
            port = self.ports[UPSTREAM.service]
            variables["OPENAI_BASE_URL"] = f"http://{host}:{port}/openai/v1"
            variables["OPENAI_API_KEY"] = "sk-operator-0123456789"
        return variables

    def _shows(self, name: str) -> dict[str, str]:
        """What makes calls in TLS, and shows who calls."""
        return {
            "CASCADA_TLS_CA_FILE": str(self._certificates / "ca.pem"),
            "CASCADA_TLS_CLIENT_CERT_FILE": str(self._certificates / f"{name}.pem"),
            "CASCADA_TLS_CLIENT_KEY_FILE": str(self._certificates / f"{name}.key"),
        }

    @property
    def _certificates(self) -> Path:
        return self.folder / "certs"

    @property
    def _configuration(self) -> Path:
        return self.folder / "cascada.json"


def _variable(service: str) -> str:
    return service.replace("-", "_").upper()


def _configuration() -> dict[str, Any]:
    """Who may call: the test for a tenant, and the services one another."""
    services = {service: {"uri": TRUST_DOMAIN + service, "roles": ["service"]} for service in SIZES}
    client = {"uri": TRUST_DOMAIN + "client", "tenant": TENANT, "roles": ["caller", "indexer"]}
    return {
        "identity": {"certificates": {**services, "client": client}},
        # So much that nobody meets it; it is counted all the same.
        "policy": {"limits": {"requests_per_minute": 1_000_000, "concurrent_requests": 10_000}},
    }
