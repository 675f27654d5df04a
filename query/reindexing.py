"""A reindexing: which collection is to live in which space, how far it got, and what came of it."""

from dataclasses import dataclass, field

from config_core.sources.request import Incoming
from config_core.space import EmbeddingSpace
from service_core.request_context import RequestContext
from service_core.trace import Hop
from service_core.usage import Usage


@dataclass(frozen=True, slots=True)
class ReindexOptions:
    """One request, already checked; `incoming` decides the new space."""

    context: RequestContext
    collection: str
    incoming: Incoming
    time_remaining: float | None


@dataclass(frozen=True, slots=True)
class ReindexProgress:
    """How many documents are in the new space, of how many that the collection has."""

    documents: int
    total_documents: int


@dataclass(slots=True)
class ReindexSummary:
    """What a run has come to; the same space twice where nothing was to be done."""

    previous_space: EmbeddingSpace
    space: EmbeddingSpace
    documents: int = 0
    chunks: int = 0
    usage: Usage = field(default_factory=Usage)
    hops: tuple[Hop, ...] = ()
