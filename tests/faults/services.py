"""The three services as their `app.build` makes them, in this process, behind one another.

async with serve(folder, upstream, file) as services:
    await services.agent.Execute(request)
    services.sample("cascada_upstream_pool", service="query", what="leases")
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import grpc
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

import agent_execution.app
import embedding.app
import query.app
from config_core.model_configuration import ModelProvider
from config_core.snapshot import Snapshots
from service_core.channel import create_channel
from service_core.process import Build, Process, configure
from service_core.telemetry import Metrics
from tests.system.asking import UPSTREAM_MODELS, base_urls
from tests.unit.service_core.running import PORTS
from tests.upstream.server import UpstreamServer

PROVIDERS = (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
NOTHING: Mapping[str, Any] = MappingProxyType({})

Stub = TypeVar("Stub", bound=AgentExecutionServiceStub | QueryServiceStub | EmbeddingServiceStub)


def operator_key(name: str) -> str:
    """The operator's key of a provider or a registered endpoint."""
    return f"sk-operator-{name}-0123456789"


@dataclass(frozen=True)
class Services:
    """The services' stubs and their metrics."""

    agent: AgentExecutionServiceStub
    query: QueryServiceStub
    embedding: EmbeddingServiceStub
    metrics: Metrics
    snapshots: tuple[Snapshots, ...] = ()
    """Each service's configuration; its file is not watched here."""

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value as Prometheus would read it; 0 where there is none yet."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def leases(self) -> float:
        """Clients of providers that are in use."""
        return sum(
            self.sample("cascada_upstream_pool", service=service, what="leases")
            for service in ("query", "embedding")
        )


def endpoints(addresses: Mapping[str, tuple[ModelProvider, str]]) -> dict[str, Any]:
    """A configuration file that registers addresses by name, each with a key of its own.

    Endpoints of one provider share an embedding space.
    """
    return {
        "endpoints": {
            name: {
                "provider": provider.value,
                "base_url": url,
                "private": True,
                "space": f"of-{provider.value}",
            }
            for name, (provider, url) in addresses.items()
        },
        "secrets": {
            name: {
                "provider": provider.value,
                "endpoint": name,
                "tenants": ["*"],
                "from": {"env": _variable(name)},
            }
            for name, (provider, _) in addresses.items()
        },
    }


@asynccontextmanager
async def serve(
    folder: Path,
    upstream: UpstreamServer,
    file: Mapping[str, Any] = NOTHING,
    environ: Mapping[str, str] = NOTHING,
) -> AsyncIterator[Services]:
    """Serve all three; every provider and endpoint has `operator_key` of its name."""
    path = folder / "cascada.json"
    path.write_text(json.dumps(dict(file)))
    metrics = Metrics()
    own = {
        **UPSTREAM_MODELS,
        **PORTS,
        **base_urls(upstream),
        **{f"{provider.name}_API_KEY": operator_key(provider) for provider in PROVIDERS},
        **{_variable(name): operator_key(name) for name in file.get("endpoints", {})},
        "CASCADA_CONFIG_FILE": str(path),
        "CASCADA_DATA_DIR": str(folder),
        **environ,
    }
    known: list[Snapshots] = []
    async with AsyncExitStack() as stack:

        async def start(build: Build, **targets: str) -> str:
            settings, snapshots = configure({**own, **targets})
            known.append(snapshots)
            process = replace(Process.of(settings, snapshots), metrics=metrics)
            stack.push_async_callback(process.limiter.aclose)
            server = await build(process, stack)
            stack.push_async_callback(server.stop, 0)
            return f"127.0.0.1:{server.port}"

        async def channel(target: str) -> grpc.aio.Channel:
            return await stack.enter_async_context(create_channel(target))

        embeddings = await start(embedding.app.build)
        queries = await start(query.app.build, CASCADA_EMBEDDING_TARGET=embeddings)
        agents = await start(agent_execution.app.build, CASCADA_QUERY_TARGET=queries)
        yield Services(
            AgentExecutionServiceStub(await channel(agents)),
            QueryServiceStub(await channel(queries)),
            EmbeddingServiceStub(await channel(embeddings)),
            metrics,
            tuple(known),
        )


def _variable(name: str) -> str:
    return f"KEY_{name.upper().replace('-', '_')}"
