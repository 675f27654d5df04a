"""The services under random requests: what is sent, who sends it, and what came of it."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2
from cascada.config.v1 import configuration_service_pb2
from cascada.embedding.v1 import embedding_service_pb2
from cascada.query.v1 import query_service_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from config_core.model_configuration import ModelProvider
from tests.system.asking import index_all
from tests.system.cluster import Cluster
from tests.system.fuzz_bytes import damaged
from tests.system.fuzz_messages import Messages
from tests.upstream.server import UpstreamServer

CALL_SECONDS = 60.0
"""Longer than any request may take by the policy below: a call that lasts so long hangs."""
AT_ONCE = 8
REFILL = 400
"""After how many requests the collections that are searched are filled again."""
COLLECTIONS = ("cities", "other")

CUT = "Internal error from Core"
"""What gRPC's client says, in place of the server's word, of a stream that was answered while it
still sent (grpc #36066)."""

_TAKEN = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED)
_TEXTS = {"madrid": "Madrid es la capital de España.", "paris": "París es la capital de Francia."}
_METADATA = ("authorization", "traceparent", "cascada-hop", "x-fuzz", "grpc-tags-bin")
_OWN: Mapping[str, ServiceDescriptor] = {
    "agent-execution": agent_execution_service_pb2.DESCRIPTOR.services_by_name[
        "AgentExecutionService"
    ],
    "query": query_service_pb2.DESCRIPTOR.services_by_name["QueryService"],
    "embedding": embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"],
}
_SHARED = configuration_service_pb2.DESCRIPTOR.services_by_name["ConfigurationService"]


@dataclass(frozen=True)
class Rpc:
    """One method as one of the services serves it."""

    service: str
    method: MethodDescriptor

    @property
    def path(self) -> str:
        """Its name on the wire."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def __str__(self) -> str:
        return f"{self.method.name} of {self.service}"


RPCS: Sequence[Rpc] = [
    Rpc(service, method)
    for service, own in _OWN.items()
    for method in (*own.methods, *_SHARED.methods)
]


def document(upstream: UpstreamServer) -> dict[str, Any]:
    """The configuration file: no request may wait long, or load the models of this machine."""
    return {
        "endpoints": {
            "house": {
                "provider": "openai",
                "base_url": upstream.url(ModelProvider.OPENAI),
                "private": True,
            }
        },
        "secrets": {
            "shared": {
                "provider": "openai",
                "endpoint": "house",
                "tenants": ["*"],
                "from": {"env": "OPENAI_API_KEY"},
            }
        },
        "policy": {
            "providers": ["openai", "groq", "mistral"],
            "bounds": {"timeout_seconds": {"max": 10}, "retry_attempts": {"max": 0}},
        },
    }


@dataclass(frozen=True)
class Input:
    """A call, made from its number alone, so that it can be repeated."""

    number: int
    rpc: Rpc
    requests: Sequence[bytes]
    metadata: Sequence[tuple[str, str | bytes]]

    @classmethod
    def of(cls, number: int) -> "Input":
        """The call of this number: every second is damaged on the wire."""
        rpc = RPCS[number % len(RPCS)]
        chance = random.Random(number)  # noqa: S311 # it has to be the same in every run
        made = Messages(chance).requests(rpc.method)
        for request in made:
            if rpc.method.name == "DeleteCollection" and hasattr(request, "collection"):
                request.collection = request.collection.replace("cities", "new")
        requests = [request.SerializeToString() for request in made]
        if chance.random() < 0.5:
            requests = [damaged(chance, request) for request in requests]
        metadata: list[tuple[str, str | bytes]] = []
        if chance.random() < 0.2:
            name = chance.choice(_METADATA)
            value = chance.randbytes(chance.randrange(60))
            text = "".join(chr(33 + byte % 94) for byte in value)
            metadata.append((name, value if name.endswith("-bin") else text))
        return cls(number, rpc, requests, metadata)

    def __str__(self) -> str:
        return f"{self.number}: {self.rpc}, {[request[:200].hex() for request in self.requests]}"


@dataclass
class Fuzzing:
    """Sends calls, and keeps what came of them."""

    cluster: Cluster
    upstream: UpstreamServer
    codes: Counter[tuple[str, grpc.StatusCode]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def send(self, start: int, end: int) -> None:
        """Send the calls of these numbers, some at once."""
        numbers = iter(range(start, end))

        async def work() -> None:
            for number in numbers:
                if number % REFILL == 0:
                    await self._refill()
                await self._send_one(Input.of(number))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _refill(self) -> None:
        self.upstream.requests.clear()
        for collection in COLLECTIONS:
            try:
                await index_all(self.cluster.query, _TEXTS, collection)
            except grpc.aio.AioRpcError as error:
                # A request has put the collection into another space, or reindexes it meanwhile.
                if error.code() not in _TAKEN:
                    self.faults.append(f"{error.code().name} {error.details()}: filling")

    async def _send_one(self, call: Input) -> None:
        try:
            await self._answered(call)
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if error.details() == CUT and call.rpc.method.client_streaming:
                code = grpc.StatusCode.CANCELLED
            elif code is grpc.StatusCode.INTERNAL or not _is_ours(error):
                self.faults.append(f"{code.name} {error.details()}: {call}")
        self.codes[str(call.rpc), code] += 1

    async def _answered(self, call: Input) -> None:
        channel: Any = self.cluster.channel(call.rpc.service)
        method = call.rpc.method
        options: dict[str, Any] = {"timeout": CALL_SECONDS, "metadata": call.metadata}
        if method.client_streaming:
            answers: Any = channel.stream_stream(call.rpc.path)(_each(call.requests), **options)
        elif method.server_streaming:
            answers = channel.unary_stream(call.rpc.path)(call.requests[0], **options)
        else:
            await channel.unary_unary(call.rpc.path)(call.requests[0], **options)
            return
        try:
            async for _ in answers:
                pass
        finally:
            answers.cancel()


async def _each(requests: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The requests, slowly enough to hear a refusal of one before the next."""
    for request in requests:
        yield request
        await asyncio.sleep(0.002)


def _is_ours(error: grpc.aio.AioRpcError) -> bool:
    """Whether the refusal is in our own words, and not gRPC's."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # an aio error has what it reads
    info = error_details_pb2.ErrorInfo()
    return status is not None and any(
        detail.Unpack(info) and info.domain == "cascada" for detail in status.details
    )
