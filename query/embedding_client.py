"""The query service's way to the embedding service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
from cascada.embedding.v1 import embedding_service_pb2 as pb
from cascada.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

from config_core.convert_effective import space_from_wire
from config_core.forward import Forwarded
from config_core.space import EmbeddingSpace
from service_core.client import NextService
from service_core.deadline import Deadline
from service_core.hop import hop_metadata
from service_core.request_context import RequestContext
from service_core.trace import Hop, usage_from_wire
from service_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector a text, in order, each of little-endian float32."""

    vectors: Sequence[bytes]
    space: EmbeddingSpace
    usage: Usage
    hops: tuple[Hop, ...]


class EmbeddingPort(Protocol):
    """Whoever embeds for the query service."""

    async def embed(
        self,
        texts: Sequence[str],
        *,
        query: bool,
        forwarded: Forwarded,
        context: RequestContext,
        deadline: Deadline,
    ) -> Embedded:
        """Embed texts, as queries or as passages; raises CascadaError with the hops so far."""
        ...


class EmbeddingClient:
    """The embedding service over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, service: NextService) -> None:
        self._stub = pb_grpc.EmbeddingServiceStub(channel)
        self._service = service

    async def embed(
        self,
        texts: Sequence[str],
        *,
        query: bool,
        forwarded: Forwarded,
        context: RequestContext,
        deadline: Deadline,
    ) -> Embedded:
        """Embed texts, as queries or as passages; raises CascadaError with the hops so far."""
        configuration, provenance = self._service.pack(forwarded)
        request = pb.EmbedRequest(
            context=context.to_wire(),
            texts=texts,
            input_kind=pb.INPUT_KIND_QUERY if query else pb.INPUT_KIND_PASSAGE,
            model_configuration=configuration,
            provenance=provenance,
        )
        async with self._service.errors():
            response = await self._stub.Embed(
                request, timeout=deadline.handed_down(), metadata=hop_metadata()
            )
        return Embedded(
            vectors=response.embeddings,
            space=space_from_wire(response.space),
            usage=usage_from_wire(response.usage),
            hops=tuple(response.configuration_trace.hops),
        )
