"""What measurements through the services share: all three in one process, and an upstream."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub

from config_core.model_configuration import ModelProvider
from tests.system.asking import UPSTREAM_MODELS, base_urls
from tests.system.cluster import Cluster
from tests.upstream.server import UpstreamServer

PROVIDERS = (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Scene:
    """The entry point, and the server that stands for every provider."""

    agent: AgentExecutionServiceStub
    upstream: UpstreamServer


@asynccontextmanager
async def serving(environ: Mapping[str, str] = NOTHING) -> AsyncIterator[Scene]:
    """Run `cascada serve all` in an empty folder, in front of an upstream in this process."""
    with tempfile.TemporaryDirectory() as folder:
        async with UpstreamServer() as upstream:
            own = {
                **UPSTREAM_MODELS,
                **base_urls(upstream),
                **{f"{name.upper()}_API_KEY": f"sk-{name}-0123456789" for name in PROVIDERS},
                "CASCADA_LOG_LEVEL": "warning",
                **environ,
            }
            async with Cluster(Path(folder), own) as cluster:
                await cluster.serve_all()
                channel = cluster.channel("agent-execution")
                yield Scene(AgentExecutionServiceStub(channel), upstream)
