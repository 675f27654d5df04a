"""A retrieval: what is to be searched, and what was found."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from query.store import Filter, Hit, SearchMode
from query.store.fusion import RANK_CONSTANT
from service_core.trace import Hop

DEFAULT_TOP_K = 5
MAX_TOP_K = 100
MAX_NEIGHBOURS = 5
MAX_RANKED = 40
"""The most passages that a chat model is given to order."""
STORE_CALLS = 8
"""How many calls of one search the store has at a time."""
_SPARE = 4
"""How many times top_k is looked at where it is chosen from more."""
_MAX_POOL = 200


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a request wants to be searched, already checked."""

    collections: tuple[str, ...]
    top_k: int = DEFAULT_TOP_K
    similarity_threshold: float | None = None
    mode: SearchMode = SearchMode.HYBRID
    filter: Filter = field(default_factory=Filter)
    mmr_lambda: float | None = None
    """1 weighs relevance alone, 0 only what a passage adds; `None` chooses by rank."""
    neighbours: int = 0
    """How many passages before and after each hit are joined to it."""
    rerank: bool = False
    """Whether a chat model orders the best candidates."""

    @property
    def needs_vector(self) -> bool:
        """Whether the query has to be embedded; a threshold needs dense scores in any mode."""
        return self.mode is not SearchMode.FULL_TEXT or self.similarity_threshold is not None

    @property
    def candidates(self) -> int:
        """How many passages `top_k` are chosen from."""
        pool = self.top_k
        if self.rerank:
            pool = max(pool, min(_SPARE * self.top_k, MAX_RANKED))
        if self.mmr_lambda is not None:
            pool = max(pool, min(_SPARE * self.top_k, _MAX_POOL))
        return pool


@dataclass(frozen=True, slots=True)
class Found:
    """A passage and the collection that it was found in."""

    collection: str
    hit: Hit
    core: Hit | None = None
    """The passage alone, where `hit` has it joined with its neighbours."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages, best first, and what ran to find them."""

    passages: tuple[Found, ...]
    hops: tuple[Hop, ...]


def scored_by_rank(passages: Iterable[Found]) -> list[Found]:
    """The same order, with scores that say no more than it does."""
    return [
        replace(found, hit=replace(found.hit, score=1 / (RANK_CONSTANT + rank)))
        for rank, found in enumerate(passages, start=1)
    ]


def heading_of(hit: Hit) -> str:
    """What stands above a passage: its document's title, and its section within it."""
    if f"{hit.section} > ".startswith(f"{hit.title} > "):
        return hit.section  # the title is its first heading
    return " – ".join(filter(None, (hit.title, hit.section)))
