"""Agent execution on a real port, and behind it a query service that notes what it is sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1 import agent_execution_service_pb2_grpc as pb_grpc
from cascada.common.v1 import chat_pb2
from cascada.config.v1 import configuration_trace_pb2 as trace
from cascada.config.v1 import model_configuration_pb2, model_provider_pb2, provenance_pb2
from cascada.query.v1 import query_service_pb2 as query
from cascada.query.v1 import query_service_pb2_grpc as query_grpc

from agent_execution import app
from config_core.convert_effective import space_to_wire
from config_core.errors import CascadaError, CollectionNotFoundError
from config_core.sources.collection import PinnedSpace
from service_core.interceptors import ErrorInterceptor
from service_core.request_context import Peers
from service_core.server import GrpcServer
from tests.unit.service_core.running import Running, running

Wire = model_configuration_pb2.ModelConfiguration
Request = query.QueryRequest | query.StreamQueryRequest
Context = grpc.aio.ServicerContext[Any, Any]

OPENAI = model_provider_pb2.MODEL_PROVIDER_OPENAI
GROQ = model_provider_pb2.MODEL_PROVIDER_GROQ
MISTRAL = model_provider_pb2.MODEL_PROVIDER_MISTRAL


def answer(text: str = "the answer") -> query.QueryResponse:
    """A whole answer with the report of the query service's own hop."""
    return query.QueryResponse(
        answer=text,
        finish_reason=chat_pb2.FINISH_REASON_STOP,
        configuration_trace=trace.ConfigurationTrace(hops=[trace.HopReport(service="query")]),
    )


@dataclass
class FakeQuery(query_grpc.QueryServiceServicer):
    """Answers as it is told."""

    requests: list[Request] = field(default_factory=list)
    lookups: list[query.GetCollectionRequest] = field(default_factory=list)
    time_left: list[float] = field(default_factory=list)
    reply: query.QueryResponse = field(default_factory=answer)
    events: list[query.StreamQueryResponse] = field(default_factory=list)
    error: Callable[[], CascadaError] | None = None
    spaces: dict[str, PinnedSpace] = field(default_factory=dict)
    hangs: bool = False
    vanishes: bool = False
    """Whether a stream ends as that of a process that dies, without a status of its own."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def Query(  # noqa: N802 # the names are the contract's
        self, request: query.QueryRequest, context: Context
    ) -> query.QueryResponse:
        await self._note(request, context)
        if self.error is not None:
            raise self.error()
        return self.reply

    async def StreamQuery(  # noqa: N802
        self, request: query.StreamQueryRequest, context: Context
    ) -> AsyncIterator[query.StreamQueryResponse]:
        for event in self.events:
            yield event
        await self._note(request, context)
        if self.vanishes:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if self.error is not None:
            raise self.error()

    async def GetCollection(  # noqa: N802
        self,
        request: query.GetCollectionRequest,
        context: Context,  # noqa: ARG002 # the RPC's signature
    ) -> query.GetCollectionResponse:
        self.lookups.append(request)
        pinned = self.spaces.get(request.collection)
        if pinned is None:
            raise CollectionNotFoundError(request.collection)
        response = query.GetCollectionResponse()
        response.collection.embedding_space.CopyFrom(space_to_wire(pinned.space))
        response.collection.embedding_endpoint = pinned.endpoint
        return response

    async def _note(self, request: Request, context: Context) -> None:
        self.requests.append(request)
        self.time_left.append(context.time_remaining() or 0.0)
        self.arrived.set()
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise


@dataclass
class World:
    """The service and the query service behind it."""

    service: Running
    query: FakeQuery

    @property
    def stub(self) -> pb_grpc.AgentExecutionServiceStub:
        return pb_grpc.AgentExecutionServiceStub(self.service.channel)

    async def execute(self, **fields: Any) -> pb.ExecuteResponse:
        fields.setdefault("message", "¿Qué tal?")
        return await self.stub.Execute(pb.ExecuteRequest(**fields), timeout=20)

    async def failure(self, **fields: Any) -> grpc.aio.AioRpcError:
        try:
            await self.execute(**fields)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the call succeeded")

    async def sent(self, **fields: Any) -> Request:
        """What the query service gets for a request."""
        await self.execute(**fields)
        return self.query.requests[-1]


@asynccontextmanager
async def serving(
    environ: Mapping[str, str] | None = None,
    *,
    document: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    target: str | None = None,
    peers: Peers | None = None,
) -> AsyncIterator[World]:
    """Serve with a query service of the test's own, or with `target` for its address."""
    variables = dict(environ or {})
    if document is not None:
        assert folder is not None
        path = folder / "cascada.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        variables["CASCADA_CONFIG_FILE"] = str(path)
    fake = FakeQuery()  # type: ignore[abstract] # only what agent execution calls is served
    server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
    server.add(
        "cascada.query.v1.QueryService",
        query_grpc.add_QueryServiceServicer_to_server,
        fake,
    )
    await server.start()
    variables["CASCADA_QUERY_TARGET"] = target or f"127.0.0.1:{server.port}"
    try:
        async with running(app.build, variables, peers) as service:
            yield World(service, fake)
    finally:
        await server.stop(0)


def names_by_source(provenance: provenance_pb2.Provenance) -> dict[int, set[str]]:
    """The fields that each layer of a provenance names."""
    numbers = {entry.number: entry.name for entry in Wire.DESCRIPTOR.fields}
    return {
        layer.source: {numbers[number] for number in layer.fields} | set(layer.options)
        for layer in provenance.layers
    }
