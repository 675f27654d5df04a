"""EmbeddingService on the wire: messages to domain types and back, nothing else."""

from typing import Any

import grpc
from cascada.embedding.v1 import embedding_service_pb2 as pb
from cascada.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

from config_core.convert_effective import space_to_wire
from config_core.convert_provenance import incoming
from config_core.errors import Violation
from embedding.providers.port import InputKind
from embedding.service import EmbeddingService, EmbedInput
from service_core.request_context import Peers, invalid, read_context, refuse_if
from service_core.trace import Tracer, usage_to_wire

MAX_TEXTS = 2048
MAX_TEXT_CHARACTERS = 100_000

_KINDS = {
    pb.INPUT_KIND_UNSPECIFIED: InputKind.PASSAGE,
    pb.INPUT_KIND_QUERY: InputKind.QUERY,
    pb.INPUT_KIND_PASSAGE: InputKind.PASSAGE,
}


class EmbeddingServicer(pb_grpc.EmbeddingServiceServicer):
    """Serves Embed."""

    def __init__(self, service: EmbeddingService, peers: Peers, tracer: Tracer) -> None:
        self._service = service
        self._peers = peers
        self._tracer = tracer

    async def Embed(  # the name is the contract's
        self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.EmbedResponse:
        """Turn each text into one vector."""
        provenance = request.provenance if request.HasField("provenance") else None
        self._peers.check_keys(request.model_configuration, provenance, context)
        violations = _text_violations(request)
        caller = read_context(request.context, violations)
        kind = _KINDS.get(request.input_kind)
        if kind is None:
            violations.append(invalid("input_kind", "must be QUERY or PASSAGE"))
        found = incoming(
            request.model_configuration,
            wire_provenance=provenance,
            trusted=self._peers.trusts(context),
        )
        if violations:  # else the resolution finds what is wrong with the configuration, and more
            refuse_if([*violations, *found.violations])
        output = await self._service.embed(
            EmbedInput(
                tenant_id=caller.tenant_id,
                texts=request.texts,
                kind=kind or InputKind.PASSAGE,
                incoming=found,
                time_remaining=context.time_remaining(),
            )
        )
        return pb.EmbedResponse(
            embeddings=output.vectors,
            space=space_to_wire(output.space),
            usage=usage_to_wire(output.usage),
            configuration_trace=self._tracer.to_wire(output.hops),
        )


def _text_violations(request: pb.EmbedRequest) -> list[Violation]:
    count = len(request.texts)
    if not 1 <= count <= MAX_TEXTS:
        return [invalid("texts", f"must be 1 to {MAX_TEXTS} texts, not {count}")]
    violations = []
    for index, text in enumerate(request.texts):
        if not text.strip():
            violations.append(invalid(f"texts[{index}]", "must not be empty or blank"))
        elif len(text) > MAX_TEXT_CHARACTERS:
            violations.append(
                invalid(f"texts[{index}]", f"must have at most {MAX_TEXT_CHARACTERS} characters")
            )
    return violations
