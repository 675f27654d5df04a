"""What a request says of its model configuration, and how far its sender is believed."""

from typing import Any

import grpc
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb

from config_core.convert_provenance import incoming
from config_core.errors import Violation
from config_core.sources.request import Incoming
from service_core.request_context import Peers, refuse_if

Configured = (
    pb.QueryRequest
    | pb.StreamQueryRequest
    | pb.SearchRequest
    | pb.ReindexCollectionRequest
    | document_pb2.IndexOptions
)


def incoming_from(
    request: Configured, peers: Peers, context: grpc.aio.ServicerContext[Any, Any]
) -> Incoming:
    """The request's configuration with its sources; PermissionDeniedError for a key in the open."""
    provenance = request.provenance if request.HasField("provenance") else None
    peers.check_keys(request.model_configuration, provenance, context)
    return incoming(
        request.model_configuration,
        wire_provenance=provenance,
        trusted=peers.trusts(context),
    )


def refuse_with(violations: list[Violation], found: Incoming) -> None:
    """Refuse a request with all that is wrong with it, its model configuration included.

    What is wrong with that alone is left to its resolution, which finds more.
    """
    if violations:
        refuse_if([*violations, *found.violations])
