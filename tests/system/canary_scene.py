"""The services with a secret in every place that can hold one, and an upstream that echoes it."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.common.v1 import request_context_pb2
from cascada.config.v1 import (
    model_configuration_pb2,
)
from cascada.config.v1 import model_provider_pb2 as provider_pb2
from google.protobuf.message import Message

from config_core.model_configuration import ModelProvider
from tests.system.asking import base_urls
from tests.system.canaries import Canaries
from tests.system.cluster import CALL_SECONDS, SERVICES, Cluster, free_ports
from tests.system.echoing import ECHOES
from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.formats import NATIVE_DIMENSIONS
from tests.upstream.server import UpstreamServer

Configuration = model_configuration_pb2.ModelConfiguration

OPENAI = provider_pb2.MODEL_PROVIDER_OPENAI
GROQ = provider_pb2.MODEL_PROVIDER_GROQ
MISTRAL = provider_pb2.MODEL_PROVIDER_MISTRAL

ENDPOINTS = ("by-env", "by-file", "profile", "credit", "credit-file", "locked", "defaults")
"""Addresses of their own, each with a secret of the same name."""

BELONGS: Mapping[str, tuple[ModelProvider, str]] = {
    **{name: (ModelProvider.OPENAI, f"/v1/{name}/chat/completions") for name in ENDPOINTS},
    "request-chat": (ModelProvider.OPENAI, "/v1/chat/completions"),
    "request-fallback": (ModelProvider.GROQ, "/openai/v1/chat/completions"),
    "request-embedding": (ModelProvider.OPENAI, "/v1/embeddings"),
    "sent-chat": (ModelProvider.OPENAI, "/v1/sent/chat/completions"),
    "sent-embedding": (ModelProvider.OPENAI, "/v1/sent/embeddings"),
    "environment-chat": (ModelProvider.OPENAI, "/v1/chat/completions"),
    "environment-fallback": (ModelProvider.MISTRAL, "/v1/chat/completions"),
    "environment-embedding": (ModelProvider.OPENAI, "/v1/embeddings"),
    "file-fallback": (ModelProvider.OPENAI, "/v1/by-file/chat/completions"),
    "GROQ_API_KEY": (ModelProvider.GROQ, "/openai/v1/chat/completions"),
    "MISTRAL_API_KEY": (ModelProvider.MISTRAL, "/v1/chat/completions"),
    "MISTRAL_API_KEY at embedding": (ModelProvider.MISTRAL, "/v1/embeddings"),
}
"""Where each secret has to arrive, and nowhere else."""

FEW = ECHOES[::5]


@dataclass
class Echoing:
    """An upstream of which every other answer to calls of one kind is the next that echoes."""

    operation: str
    behaviours: Iterator[Behaviour]
    turn: int = 0

    def __call__(self, received: Received) -> Behaviour:
        """Choose; good answers in between keep the circuit closed."""
        if received.operation != self.operation:
            return Answer()
        self.turn += 1
        return next(self.behaviours, Answer()) if self.turn % 2 else Answer()


class Scene:
    """The services, their upstream and what has come out of them."""

    def __init__(
        self,
        cluster: Cluster,
        upstream: UpstreamServer,
        canaries: Canaries,
        metrics_ports: Sequence[int],
    ) -> None:
        self.cluster = cluster
        self.upstream = upstream
        self.canaries = canaries
        self.metrics_ports = metrics_ports

    async def call(self, stub: Any, request: Message) -> None:
        """Call, be it in vain, and keep what comes back."""
        name = type(request).__name__
        call = stub(request, timeout=CALL_SECONDS, metadata=(("authorization", self.bearer),))
        try:
            if isinstance(call, grpc.aio.UnaryUnaryCall):
                self.canaries.saw(name, await call)
            else:
                async for event in call:
                    self.canaries.saw(name, event)
        except grpc.aio.AioRpcError as error:
            self.canaries.saw(f"error of {name}", error)

    async def chat(
        self, tenant: str = "", *, echoes: Sequence[Behaviour] = FEW, **configuration: Any
    ) -> None:
        """Ask until each echo was heard."""
        stub = AgentExecutionServiceStub(self.cluster.channel("agent-execution"))
        fields: dict[str, Any] = {
            "message": "hola",
            "context": request_context_pb2.RequestContext(tenant_id=tenant),
            "model_configuration": Configuration(retry_attempts=0, **configuration),
        }
        execute = agent_execution.ExecuteRequest(**fields)
        await self.echoed(stub.Execute, execute, "chat", echoes)
        stream = agent_execution.StreamExecuteRequest(**fields)
        await self.echoed(stub.StreamExecute, stream, "stream", echoes)

    async def echoed(
        self, stub: Any, request: Message, operation: str, echoes: Sequence[Behaviour] = FEW
    ) -> None:
        """Repeat a call, each time with the next echo."""
        self.upstream.choose = Echoing(operation, iter(echoes))
        for _ in range(2 * len(echoes)):
            await self.call(stub, request)
        self.upstream.choose = None

    @property
    def bearer(self) -> str:
        """What a client may send along in its metadata."""
        return f"Bearer {self.canaries['metadata']}"

    def arrived(self) -> dict[str, set[tuple[ModelProvider, str]]]:
        """Where each secret came to the upstream."""
        found: dict[str, set[tuple[ModelProvider, str]]] = {}
        for seen in self.upstream.requests:
            name = self.canaries.name_of(seen.key)
            found.setdefault(name, set()).add((seen.provider, seen.path))
            others = {name: text for name, text in seen.headers.items() if name != "authorization"}
            self.canaries.saw("a request to the upstream", json.dumps([seen.body, others]))
        return found


def document(upstream: UpstreamServer, canaries: Canaries, secret_file: Path) -> dict[str, Any]:
    """The configuration file."""
    address = upstream.url(ModelProvider.OPENAI)
    from_file = {"file": str(secret_file)}
    endpoints = (*ENDPOINTS, "sent")
    return {
        "endpoints": {
            name: {"provider": "openai", "base_url": f"{address}/{name}", "private": True}
            for name in endpoints
        },
        "secrets": {
            "by-env": {
                "provider": "openai",
                "endpoint": "by-env",
                "tenants": ["*"],
                "from": {"env": "SECRET_BY_ENV"},
            },
            "by-file": {
                "provider": "openai",
                "endpoint": "by-file",
                "tenants": ["*"],
                "from": from_file,
            },
        },
        "tenants": {
            "profiled": {
                "model_configuration": {
                    "chat_endpoint": "profile",
                    "chat_api_key": canaries["profile"],
                }
            },
            "credited": {"credentials": {"credit": {"from": {"env": "SECRET_CREDIT"}}}},
            "filed": {"credentials": {"credit-file": {"from": {"file": f"{secret_file}-credit"}}}},
            "locked": {
                "policy": {"locks": {"chat_endpoint": "locked", "chat_api_key": canaries["locked"]}}
            },
        },
    }


@pytest.fixture
async def scene(tmp_path: Path, upstream: UpstreamServer) -> AsyncIterator[Scene]:
    """Give three processes with a secret of its own in each place that can hold one."""
    canaries = Canaries()
    operator = tmp_path / "operator"
    operator.mkdir()
    secret_file = operator / "secret"
    secret_file.write_text(canaries["by-file"])
    (operator / "secret-credit").write_text(canaries["credit-file"])
    configuration = operator / "cascada.json"
    configuration.write_text(json.dumps(document(upstream, canaries, secret_file)))
    fallbacks = {
        "alternatives": [{"provider": "mistral", "api_key": canaries["environment-fallback"]}]
    }
    environs: dict[str, dict[str, str]] = {
        "agent-execution": {
            "CASCADA_FORWARD_CREDENTIALS": "1",
            "MISTRAL_API_KEY": canaries["MISTRAL_API_KEY"],
        },
        "query": {
            "CASCADA_CHAT_PROVIDER": "openai",
            "CASCADA_CHAT_API_KEY": canaries["environment-chat"],
            "CASCADA_FALLBACKS": json.dumps(fallbacks),
            "GROQ_API_KEY": canaries["GROQ_API_KEY"],
        },
        "embedding": {
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_EMBEDDING_API_KEY": canaries["environment-embedding"],
            "CASCADA_EMBEDDING_DIMENSIONS": str(NATIVE_DIMENSIONS),
            "MISTRAL_API_KEY": canaries["MISTRAL_API_KEY at embedding"],
        },
    }
    common = {
        **base_urls(upstream),
        "CASCADA_CONFIG_FILE": str(configuration),
        "CASCADA_FINGERPRINT_KEY": canaries["fingerprint"],
        "SECRET_BY_ENV": canaries["by-env"],
        "SECRET_CREDIT": canaries["credit"],
        # The SDKs' own switches, under which they log requests.
        "OPENAI_LOG": "debug",
        "GROQ_LOG": "debug",
        "MISTRAL_DEBUG": "1",
    }
    folder = tmp_path / "cluster"
    folder.mkdir()
    metrics_ports = free_ports(len(SERVICES))
    for service, port in zip(SERVICES, metrics_ports, strict=True):
        environs[service]["CASCADA_METRICS_PORT"] = str(port)
    async with Cluster(folder, common) as cluster:
        await cluster.serve_each(environs)
        yield Scene(cluster, upstream, canaries, metrics_ports)
