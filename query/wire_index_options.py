"""The options of an indexing, as domain types, with everything that is wrong."""

from dataclasses import replace

from cascada.query.v1 import document_pb2

from config_core.errors import Violation
from config_core.sources.request import Incoming
from query import wire_documents, wire_request
from query.indexing import IndexOptions
from query.wire_incoming import refuse_with
from service_core.request_context import read_context


def index_options_from(
    message: document_pb2.IndexOptions, found: Incoming, time_remaining: float | None
) -> IndexOptions:
    """The options with the model configuration that was found in them; InvalidArgumentError."""
    misplaced: list[Violation] = []
    caller = read_context(message.context, misplaced)
    violations = [replace(each, field=f"options.{each.field}") for each in misplaced]
    wire_request.check_collection("options.collection", message.collection, violations)
    tokens, overlap = wire_documents.chunk_settings(message, violations)
    refuse_with(violations, found)
    return IndexOptions(
        context=caller,
        collection=message.collection,
        incoming=found,
        time_remaining=time_remaining,
        chunk_tokens=tokens,
        overlap_sentences=overlap,
    )
