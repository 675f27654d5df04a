"""Queries, and filters with what they should keep, for the contract of a store."""

from collections.abc import Callable

from query.store.model import Document, Equals, Filter, Hit, OneOf, Range, SearchMode, SearchQuery
from query.store.testing.corpus import QUERY

TEXT = "corazon harbour viento"
TEXT_WORDS = ("corazón", "harbour", "viento")


def _year(document: Document) -> float:
    return float(document.metadata["year"])


FILTERS: tuple[tuple[Filter, Callable[[Document], bool]], ...] = (
    (
        Filter(frozenset({"doc-003", "doc-004", "absent"})),
        lambda d: d.document_id in ("doc-003", "doc-004"),
    ),
    (Filter(frozenset()), lambda _: False),
    (Filter(None, (Equals("language", "es"),)), lambda d: d.metadata["language"] == "es"),
    (Filter(None, (Equals("draft", value=True),)), lambda d: d.metadata["draft"] is True),
    (Filter(None, (Equals("draft", 1),)), lambda _: False),
    (Filter(None, (Equals("year", 2010),)), lambda d: _year(d) == 2010),
    (Filter(None, (Equals("year", "2010"),)), lambda _: False),
    (Filter(None, (Equals("absent", "es"),)), lambda _: False),
    (Filter(None, (OneOf("year", (2003, 2004.0, "2005")),)), lambda d: _year(d) in (2003, 2004)),
    (Filter(None, (OneOf("language", ()),)), lambda _: False),
    (Filter(None, (Range("year", gte=2003, lt=2006),)), lambda d: 2003 <= _year(d) < 2006),
    (Filter(None, (Range("year", gt=2003, lte=2006.5),)), lambda d: 2003 < _year(d) <= 2006.5),
    (Filter(None, (Range("year_text", gte=0),)), lambda _: False),
    (Filter(None, (Range("draft", gte=0),)), lambda _: False),
    (
        Filter(
            frozenset({"doc-001", "doc-002", "doc-003"}),
            (Equals("language", "es"), Range("year", gt=2001)),
        ),
        lambda d: d.document_id == "doc-002",
    ),
)


def dense(top_k: int = 10, vector: bytes = QUERY, restriction: Filter | None = None) -> SearchQuery:
    """A dense query."""
    return SearchQuery(SearchMode.DENSE, top_k, vector, None, restriction or Filter())


def words(text: str, top_k: int = 1000, restriction: Filter | None = None) -> SearchQuery:
    """A full-text query."""
    return SearchQuery(SearchMode.FULL_TEXT, top_k, None, text, restriction or Filter())


def hybrid(top_k: int = 10, text: str = TEXT, restriction: Filter | None = None) -> SearchQuery:
    """A hybrid query."""
    return SearchQuery(SearchMode.HYBRID, top_k, QUERY, text, restriction or Filter())


def ids(hits: list[Hit]) -> list[str]:
    """The chunk ids, in order."""
    return [hit.chunk_id for hit in hits]
