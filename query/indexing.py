"""An indexing: what is to be indexed and how, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from config_core.errors import Reason
from config_core.sources.request import Incoming
from query.extraction.model import MAX_CHARACTERS, MediaType
from query.store import MetadataValue
from service_core.request_context import RequestContext
from service_core.trace import Hop
from service_core.usage import Usage

DEFAULT_OVERLAP_SENTENCES = 1
_BYTES_PER_CHARACTER = 10


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What holds for a whole stream, already checked."""

    context: RequestContext
    collection: str
    incoming: Incoming
    time_remaining: float | None
    chunk_tokens: int | None = None
    """The most tokens of a passage; None leaves it to the embedding model."""
    overlap_sentences: int = DEFAULT_OVERLAP_SENTENCES


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document as it came, as `text` or as the `content` of a file."""

    document_id: str
    text: str
    title: str = ""
    source: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    problem: str = ""
    """Why it can't be indexed; "" where it can."""
    content: bytes = b""
    media_type: MediaType = MediaType.MARKDOWN

    @property
    def weight(self) -> int:
        """About how many bytes it takes until it is stored: passages and vectors included."""
        size = len(self.content) or len(self.text)
        return size + _BYTES_PER_CHARACTER * min(size, MAX_CHARACTERS)


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
