"""Cascada's own processes as they are measured: before a canned upstream, features on."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.cost.processes import free_port, python, running

NAMES = ("embedding", "query", "agent-execution")
NOTHING: Mapping[str, str] = MappingProxyType({})

_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Services:
    """Running services: their ports, and their processes, which are fewer in `serve all`."""

    ports: Mapping[str, int]
    pids: Mapping[str, int]

    def target(self, name: str) -> str:
        """The gRPC target of a service."""
        return f"127.0.0.1:{self.ports[name]}"

    def cost_of(self, *names: str) -> list[int]:
        """The processes of these services."""
        return sorted({self.pids[name] for name in names})


@asynccontextmanager
async def services(
    folder: Path,
    upstream: int,
    names: tuple[str, ...] = NAMES,
    *,
    together: bool = False,
    own: Mapping[str, str] = NOTHING,
    profiles: Path | None = None,
) -> AsyncIterator[Services]:
    """Run services in processes of their own, or all in one, against the upstream's port.

    With `profiles`, each of its own leaves what cProfile counted in that folder when it ends.
    """
    ports = {name: free_port() for name in NAMES}
    environ = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
        "OPENAI_API_KEY": "sk-bench-0123456789",
        "CASCADA_CHAT_PROVIDER": "openai",
        "CASCADA_CHAT_MODEL": "bench-model",
        "CASCADA_EMBEDDING_PROVIDER": "openai",
        "CASCADA_EMBEDDING_MODEL": "text-embedding-3-small",
        "CASCADA_EMBEDDING_DIMENSIONS": "384",
        "CASCADA_DATA_DIR": str(folder / "data"),
        "CASCADA_METRICS_PORT": "0",
        **{f"CASCADA_{name.replace('-', '_').upper()}_PORT": str(p) for name, p in ports.items()},
        **own,
    }
    async with AsyncExitStack() as stack:
        pids: dict[str, int] = {}
        if together:
            command = python("-m", "cli", "serve", "all")
            pid = await stack.enter_async_context(running(command, environ, folder=folder))
            pids = dict.fromkeys(names, pid)
        else:
            for name in names:
                profiler = ("-m", "cProfile", "-o", str(profiles / name)) if profiles else ()
                command = python(*profiler, "-m", name.replace("-", "_"))
                running_one = running(command, environ, folder=folder)
                pids[name] = await stack.enter_async_context(running_one)
        for name in names:
            await _serving(ports[name])
        yield Services(ports, pids)


async def _serving(port: int) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                try:
                    state = await check(health_pb2.HealthCheckRequest(), timeout=1.0)
                except grpc.RpcError:
                    state = None
                if state and state.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                await asyncio.sleep(0.1)
