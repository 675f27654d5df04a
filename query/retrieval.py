"""A retrieval: what is to be searched, and what was found."""

from dataclasses import dataclass, field

from query.store import Filter, Hit, SearchMode
from service_core.trace import Hop

DEFAULT_TOP_K = 5
MAX_TOP_K = 100


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a request wants to be searched, already checked."""

    collections: tuple[str, ...]
    top_k: int = DEFAULT_TOP_K
    similarity_threshold: float | None = None
    mode: SearchMode = SearchMode.HYBRID
    filter: Filter = field(default_factory=Filter)

    @property
    def needs_vector(self) -> bool:
        """Whether the query has to be embedded; a threshold needs dense scores in any mode."""
        return self.mode is not SearchMode.FULL_TEXT or self.similarity_threshold is not None


@dataclass(frozen=True, slots=True)
class Found:
    """A passage and the collection that it was found in."""

    collection: str
    hit: Hit


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages, best first, and what ran to find them."""

    passages: tuple[Found, ...]
    hops: tuple[Hop, ...]
