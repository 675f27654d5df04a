"""Reindexing on the wire: the request as domain types, its progress and summary as messages."""

from cascada.query.v1 import query_service_pb2 as pb

from config_core.convert_effective import space_to_wire
from config_core.errors import Violation
from config_core.sources.request import Incoming
from query import wire_request as wire
from query.reindexing import ReindexOptions, ReindexProgress, ReindexSummary
from query.wire_incoming import refuse_with
from service_core.request_context import invalid, read_context
from service_core.trace import Tracer, usage_to_wire

_SPACE_FIELDS = (
    "embedding_provider",
    "embedding_endpoint",
    "embedding_model",
    "embedding_dimensions",
)


def reindex_options_from(
    request: pb.ReindexCollectionRequest, found: Incoming, time_remaining: float | None
) -> ReindexOptions:
    """The request; InvalidArgumentError with everything that is wrong with it."""
    violations: list[Violation] = []
    caller = read_context(request.context, violations)
    wire.check_collection("collection", request.collection, violations)
    given = {field.name for field, _ in request.model_configuration.ListFields()}
    if given.isdisjoint(_SPACE_FIELDS):
        violations.append(
            invalid(
                "model_configuration",
                f"must say how to embed: set one of {', '.join(_SPACE_FIELDS)}",
            )
        )
    refuse_with(violations, found)
    return ReindexOptions(caller, request.collection, found, time_remaining)


def reindex_event_to_wire(
    event: ReindexProgress | ReindexSummary, tracer: Tracer
) -> pb.ReindexCollectionResponse:
    """One event of a reindexing."""
    match event:
        case ReindexProgress(documents, total):
            progress = pb.ReindexProgress(documents=documents, total_documents=total)
            return pb.ReindexCollectionResponse(progress=progress)
        case ReindexSummary():
            return pb.ReindexCollectionResponse(
                summary=pb.ReindexSummary(
                    documents=event.documents,
                    chunks=event.chunks,
                    previous_space=space_to_wire(event.previous_space),
                    embedding_space=space_to_wire(event.space),
                    usage=usage_to_wire(event.usage),
                    configuration_trace=tracer.to_wire(event.hops),
                )
            )
