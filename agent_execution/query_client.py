"""Agent execution's way to the query service."""

from collections.abc import AsyncGenerator
from typing import TypeVar

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.query.v1 import query_service_pb2, query_service_pb2_grpc

from agent_execution.service import Handover
from config_core.convert_effective import space_from_wire
from config_core.errors import Reason, RemoteError
from config_core.sources.collection import PinnedSpace
from service_core.client import NextService
from service_core.deadline import Deadline
from service_core.hop import hop_metadata
from service_core.request_context import RequestContext

Payload = pb.ExecuteRequest | pb.StreamExecuteRequest
"""The caller's request; all but its configuration is passed on as it came."""

Q = TypeVar("Q", query_service_pb2.QueryRequest, query_service_pb2.StreamQueryRequest)


class QueryClient:
    """The query service over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, service: NextService) -> None:
        self._stub = query_service_pb2_grpc.QueryServiceStub(channel)
        self._service = service

    async def query(self, payload: Payload, handover: Handover) -> query_service_pb2.QueryResponse:
        """Answer in one piece."""
        request = self._request(query_service_pb2.QueryRequest, payload, handover)
        async with self._service.errors():
            return await self._stub.Query(
                request, timeout=handover.deadline.handed_down(), metadata=hop_metadata()
            )

    async def stream_query(
        self, payload: Payload, handover: Handover
    ) -> AsyncGenerator[query_service_pb2.StreamQueryResponse, None]:
        """Answer piece by piece; closing the generator cancels the call."""
        request = self._request(query_service_pb2.StreamQueryRequest, payload, handover)
        stream = self._stub.StreamQuery(
            request, timeout=handover.deadline.handed_down(), metadata=hop_metadata()
        )
        begun = completed = False
        try:
            try:
                async with self._service.errors():
                    async for event in stream:
                        begun, completed = True, event.HasField("completed")
                        yield event
            except RemoteError as error:
                if begun and error.code_reason is Reason.UPSTREAM_FAILED:
                    raise _broken_off(error) from None
                raise
            if not completed:
                raise RemoteError(
                    Reason.STREAM_INTERRUPTED, "The query service ended its stream without the end."
                )
        finally:
            stream.cancel()  # an abandoned stream would never end by itself

    async def pinned(
        self, collection: str, context: RequestContext, deadline: Deadline
    ) -> PinnedSpace:
        """The space that a collection is pinned to."""
        request = query_service_pb2.GetCollectionRequest(
            context=context.to_wire(), collection=collection
        )
        async with self._service.errors():
            response = await self._stub.GetCollection(
                request, timeout=deadline.handed_down(), metadata=hop_metadata()
            )
        found = response.collection
        return PinnedSpace(space_from_wire(found.embedding_space), found.embedding_endpoint)

    def _request(self, message: type[Q], payload: Payload, handover: Handover) -> Q:
        configuration, provenance = self._service.pack(handover.forwarded)
        request = message(
            context=handover.context.to_wire(),
            message=payload.message,
            model_configuration=configuration,
            history=payload.history,
            tools=payload.tools,
            provenance=provenance,
        )
        if payload.HasField("system_prompt"):
            request.system_prompt = payload.system_prompt
        if payload.HasField("retrieval"):
            request.retrieval.CopyFrom(payload.retrieval)
        if payload.HasField("response_format"):
            request.response_format.CopyFrom(payload.response_format)
        return request


def _broken_off(error: RemoteError) -> RemoteError:
    """The query service's end, once a part of the answer has been given away."""
    return RemoteError(
        Reason.STREAM_INTERRUPTED,
        f"The stream broke off: {error.message}",
        metadata=error.metadata,
    )
