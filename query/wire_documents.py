"""Documents and the options of their indexing, as domain types, with everything that is wrong."""

import math

from cascada.query.v1 import document_pb2

from config_core.convert import dict_from_struct
from config_core.errors import Violation
from query.indexing import DEFAULT_CHUNK_TOKENS, DEFAULT_OVERLAP_SENTENCES, SourceDocument
from query.wire_request import check_text
from service_core.request_context import invalid

MAX_TEXT_CHARACTERS = 2_000_000
MAX_DOCUMENT_ID_LENGTH = 512
MAX_TITLE_LENGTH = 1000
MAX_SOURCE_LENGTH = 4000
MAX_METADATA_ENTRIES = 64

Violations = list[Violation]


def document_from(message: document_pb2.Document) -> SourceDocument:
    """A document; what is wrong with it goes into its `problem`, since the stream goes on."""
    violations: Violations = []
    if not 1 <= len(message.document_id) <= MAX_DOCUMENT_ID_LENGTH:
        violations.append(
            invalid("document_id", f"must have 1 to {MAX_DOCUMENT_ID_LENGTH} characters")
        )
    check_text("text", message.text, MAX_TEXT_CHARACTERS, violations)
    for name, limit in (("title", MAX_TITLE_LENGTH), ("source", MAX_SOURCE_LENGTH)):
        if len(getattr(message, name)) > limit:
            violations.append(invalid(name, f"must have at most {limit} characters"))
    metadata = dict_from_struct(message.metadata)
    if len(metadata) > MAX_METADATA_ENTRIES:
        violations.append(invalid("metadata", f"must be at most {MAX_METADATA_ENTRIES} entries"))
    for key, value in metadata.items():
        if not isinstance(value, str | int | float | bool):
            violations.append(invalid(f"metadata.{key}", "must be a string, number or bool"))
        elif isinstance(value, float) and not math.isfinite(value):
            violations.append(invalid(f"metadata.{key}", "must be a finite number"))
    return SourceDocument(
        document_id=message.document_id,
        text=message.text,
        title=message.title,
        source=message.source,
        metadata=metadata,
        problem="; ".join(f"{found.field} {found.description}" for found in violations),
    )


def chunk_settings(message: document_pb2.IndexOptions, violations: Violations) -> tuple[int, int]:
    """The size of passages and how many sentences they share."""
    tokens = message.chunk_tokens if message.HasField("chunk_tokens") else DEFAULT_CHUNK_TOKENS
    if not 16 <= tokens <= 400:
        violations.append(invalid("options.chunk_tokens", "must be 16 to 400"))
    overlap = (
        message.chunk_overlap_sentences
        if message.HasField("chunk_overlap_sentences")
        else DEFAULT_OVERLAP_SENTENCES
    )
    if not 0 <= overlap <= 5:
        violations.append(invalid("options.chunk_overlap_sentences", "must be 0 to 5"))
    return tokens, overlap
