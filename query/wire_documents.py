"""Documents and the options of their indexing, as domain types, with everything that is wrong."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from cascada.query.v1 import document_pb2

from config_core.convert import dict_from_struct
from config_core.errors import CascadaError, Violation
from config_core.sources.request import FIELD
from query.extraction.model import MAX_CHARACTERS, MediaType
from query.indexing import DEFAULT_OVERLAP_SENTENCES, SourceDocument
from query.wire_request import check_text, optional
from service_core.request_context import invalid

MAX_CONTENT_BYTES = 32 * 1024 * 1024
MAX_DOCUMENT_ID_LENGTH = 512
MAX_TITLE_LENGTH = 1000
MAX_SOURCE_LENGTH = 4000
MAX_METADATA_ENTRIES = 64
MAX_OVERLAP_SENTENCES = 5

_TEXT_TYPES = (MediaType.MARKDOWN, MediaType.PLAIN)

Violations = list[Violation]


def document_from(message: document_pb2.Document) -> SourceDocument:
    """A document; what is wrong with it goes into its `problem`, since the stream goes on."""
    violations: Violations = []
    content = message.content
    if not 1 <= len(message.document_id) <= MAX_DOCUMENT_ID_LENGTH:
        violations.append(
            invalid("document_id", f"must have 1 to {MAX_DOCUMENT_ID_LENGTH} characters")
        )
    _check_body(message.text, content, violations)
    media_type = _media_type(message, violations)
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
    problem = "; ".join(f"{found.field} {found.description}" for found in violations)
    return SourceDocument(
        document_id=message.document_id,
        text="" if problem else message.text,
        title=message.title,
        source=message.source,
        metadata=metadata,
        problem=problem,
        content=b"" if problem else content,
        media_type=media_type,
    )


def chunk_settings(
    message: document_pb2.IndexOptions, violations: Violations
) -> tuple[int | None, int]:
    """The size of passages, whose limits the model sets, and how many sentences they share."""
    overlap = (
        message.chunk_overlap_sentences
        if message.HasField("chunk_overlap_sentences")
        else DEFAULT_OVERLAP_SENTENCES
    )
    if not 0 <= overlap <= MAX_OVERLAP_SENTENCES:
        violations.append(
            invalid("options.chunk_overlap_sentences", f"must be 0 to {MAX_OVERLAP_SENTENCES}")
        )
    return optional(message, "chunk_tokens"), overlap


@contextmanager
def in_options() -> Iterator[None]:
    """Name fields of the model configuration in an error as they were sent: inside the options."""
    try:
        yield
    except CascadaError as error:
        error.violations = tuple(
            replace(found, field=_in_options(found.field)) for found in error.violations
        )
        error.message = _in_options(error.message)
        error.args = (error.message,)
        raise


def _in_options(path: str) -> str:
    return f"options.{path}" if path.startswith(f"{FIELD}.") else path


def _check_body(text: str, content: bytes, violations: Violations) -> None:
    if not content:
        check_text("text", text, MAX_CHARACTERS, violations)
    elif text:
        violations.append(invalid("content", "must be left out where text is set"))
    elif len(content) > MAX_CONTENT_BYTES:
        violations.append(
            invalid("content", f"must have at most {MAX_CONTENT_BYTES >> 20} MiB: split it")
        )


def _media_type(message: document_pb2.Document, violations: Violations) -> MediaType:
    name = message.media_type
    if not name and not message.content:
        return MediaType.MARKDOWN
    allowed = _TEXT_TYPES if message.text else tuple(MediaType)
    if name not in set(allowed):
        body = "text" if message.text else "content"
        violations.append(invalid("media_type", f"must be one of {', '.join(allowed)} with {body}"))
        return MediaType.PLAIN
    return MediaType(name)
