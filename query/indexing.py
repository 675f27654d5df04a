"""An indexing: what is to be indexed and how, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from config_core.errors import Reason
from config_core.sources.request import Incoming
from query.store import MetadataValue
from service_core.request_context import RequestContext
from service_core.trace import Hop
from service_core.usage import Usage

DEFAULT_CHUNK_TOKENS = 200
DEFAULT_OVERLAP_SENTENCES = 1


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What holds for a whole stream, already checked."""

    context: RequestContext
    collection: str
    incoming: Incoming
    time_remaining: float | None
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS
    overlap_sentences: int = DEFAULT_OVERLAP_SENTENCES


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document as it came; `problem` says why it can't be indexed, "" where it can."""

    document_id: str
    text: str
    title: str = ""
    source: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    problem: str = ""


class DocumentOutcome(StrEnum):
    """What happened to a document."""

    INDEXED = "indexed"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DocumentResult:
    """The outcome of the document at `position` in the stream, from 0."""

    document_id: str
    position: int
    outcome: DocumentOutcome
    chunk_count: int = 0
    reason: Reason | None = None
    detail: str = ""


@dataclass(slots=True)
class IndexSummary:
    """What a stream has come to."""

    indexed: int = 0
    unchanged: int = 0
    failed: int = 0
    chunks: int = 0
    usage: Usage = field(default_factory=Usage)
    hops: tuple[Hop, ...] = ()

    def count(self, result: DocumentResult) -> None:
        """Add one document's outcome."""
        if result.outcome is DocumentOutcome.INDEXED:
            self.indexed += 1
            self.chunks += result.chunk_count
        elif result.outcome is DocumentOutcome.UNCHANGED:
            self.unchanged += 1
        else:
            self.failed += 1
