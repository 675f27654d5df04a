"""The nouns of the store: what is written, what is listed, what is asked and what is found."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from config_core.space import EmbeddingSpace

MAX_NAME_LENGTH = 128
MAX_ID_LENGTH = 512
MAX_TOP_K = 1000
MAX_PAGE_SIZE = 1000
MAX_CONDITIONS = 16
MAX_CONDITION_VALUES = 1000

MetadataValue = str | float | int | bool


STAGED = "\x1fstaged"
"""Ends the name of a collection that is built to take another one's place."""


def staged(name: str) -> str:
    """Where the next version of a collection is built: no caller can name it, no list shows it."""
    return name + STAGED


def check_name(name: str) -> None:
    """Refuse a collection name that is empty or over 128 characters, with a ValueError."""
    if not 1 <= len(name.removesuffix(STAGED)) <= MAX_NAME_LENGTH:
        raise ValueError(f"a collection's name must have 1 to {MAX_NAME_LENGTH} characters")


def check_page_size(page_size: int) -> None:
    """Refuse a page size outside 1 to 1000, with a ValueError."""
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise ValueError(f"the page size must be 1 to {MAX_PAGE_SIZE}")


def _check_value(key: str, value: MetadataValue) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metadata {key!r} must be a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"metadata {key!r} must fit into 64 bits")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage of a document with its vector."""

    chunk_id: str
    """Chosen by the caller from document id and position; unique in tenant and collection."""
    position: int
    """Place among the document's chunks, from 0."""
    text: str
    start: int
    """Offset of the first character in the document's text."""
    end: int
    """Offset behind the last character."""
    section: str
    """The headings above the passage; "" for none."""
    vector: bytes
    """Little-endian float32 of any length but zero; the store normalises it."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """One passage as it is read back: without its vector."""

    chunk_id: str
    position: int
    text: str
    start: int
    end: int
    section: str

    def with_vector(self, vector: bytes) -> Chunk:
        """The same passage, to be written with this vector."""
        return Chunk(
            chunk_id=self.chunk_id,
            position=self.position,
            text=self.text,
            start=self.start,
            end=self.end,
            section=self.section,
            vector=vector,
        )


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is written: one unit with all its chunks. Breaches are ValueErrors."""

    document_id: str
    title: str
    source: str
    metadata: Mapping[str, MetadataValue]
    content_hash: str
    chunks: Sequence[Chunk]

    def __post_init__(self) -> None:
        if not 1 <= len(self.document_id) <= MAX_ID_LENGTH:
            raise ValueError(f"a document's id must have 1 to {MAX_ID_LENGTH} characters")
        if len({chunk.chunk_id for chunk in self.chunks}) != len(self.chunks):
            raise ValueError(f"two chunks of document {self.document_id!r} have the same id")
        for key, value in self.metadata.items():
            _check_value(key, value)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is listed: without its text."""

    document_id: str
    title: str
    source: str
    metadata: Mapping[str, MetadataValue]
    content_hash: str
    chunk_count: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection with the embedding space that it is pinned to. Times are in UTC."""

    name: str
    space: EmbeddingSpace
    endpoint: str
    """The registered endpoint that the space was last written through; "" for none."""
    document_count: int
    chunk_count: int
    created_at: datetime
    updated_at: datetime


class SearchMode(StrEnum):
    """By meaning, by words, or by both."""

    DENSE = "dense"
    FULL_TEXT = "full_text"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class Equals:
    """The metadata has `key` with this value. Text, numbers and booleans never equal another."""

    key: str
    value: MetadataValue

    def __post_init__(self) -> None:
        _check_value(self.key, self.value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The metadata has `key` with one of these values; with no values nothing fits."""

    key: str
    values: tuple[MetadataValue, ...]

    def __post_init__(self) -> None:
        if len(self.values) > MAX_CONDITION_VALUES:
            raise ValueError(f"a condition takes at most {MAX_CONDITION_VALUES} values")
        for value in self.values:
            _check_value(self.key, value)


@dataclass(frozen=True, slots=True)
class Range:
    """The metadata has `key` with a number inside every bound given; text never fits."""

    key: str
    gte: float | None = None
    gt: float | None = None
    lte: float | None = None
    lt: float | None = None

    def __post_init__(self) -> None:
        for bound in (self.gte, self.gt, self.lte, self.lt):
            if bound is not None:
                _check_value(self.key, bound)


Condition = Equals | OneOf | Range


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents to search: all conditions hold. `document_ids=None` means any document."""

    document_ids: frozenset[str] | None = None
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if len(self.conditions) > MAX_CONDITIONS:
            raise ValueError(f"a filter takes at most {MAX_CONDITIONS} conditions")

    def __bool__(self) -> bool:
        return self.document_ids is not None or bool(self.conditions)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to look for. Dense needs `vector`, full text needs `text`, hybrid needs both."""

    mode: SearchMode
    top_k: int
    vector: bytes | None = None
    """Little-endian float32. In full-text mode it only serves the hits' dense score."""
    text: str | None = None
    filter: Filter = field(default_factory=Filter)
    space: EmbeddingSpace | None = None
    """What `vector` lives in; a collection of another space raises SpaceMismatchError."""
    threshold: float | None = None
    """Only chunks of at least this dense score are ranked, in every mode; needs `vector`."""
    with_vectors: bool = False
    """Whether the hits are to carry their vectors."""

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise ValueError(f"top_k must be 1 to {MAX_TOP_K}")
        if self.mode is not SearchMode.FULL_TEXT and self.vector is None:
            raise ValueError(f"{self.mode} search needs a vector")
        if self.mode is not SearchMode.DENSE and self.text is None:
            raise ValueError(f"{self.mode} search needs a text")
        if self.threshold is not None and self.vector is None:
            raise ValueError("a threshold needs a vector")


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. Hits come best first; a higher score is better."""

    chunk_id: str
    document_id: str
    title: str
    text: str
    score: float
    """Dense: cosine similarity. Full text: bm25, above 0. Hybrid: reciprocal rank fusion."""
    dense_score: float | None
    """Cosine similarity in [-1, 1]; None where the query had no vector."""
    metadata: Mapping[str, MetadataValue]
    section: str
    start: int
    end: int
    position: int
    vector: bytes | None = None
    """Little-endian float32 of length one, where it was asked for."""
