"""The inverted table's rows: in which chunks of one document a term is, and how often.

An entry holds the chunk's place, the term's frequency in it, and how many terms the chunk has:
with these alone, and how many entries a term has, a chunk's share of a bm25 score is known.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from query.store import analysis
from query.store.postgresql.places import first_place

ENTRY = np.dtype([("place", "<i8"), ("frequency", "<i4"), ("length", "<i4")])

# A row must fit into its index, whose limit is 2,704 bytes, beside a term of 128 characters.
_ENTRIES_IN_ROW = 128


@dataclass(frozen=True, slots=True)
class Postings:
    """A document's terms, the entries of each in `entries` one after another."""

    terms: list[str]
    counts: list[int]
    """How many entries each term has."""
    entries: NDArray[np.void]
    tokens: int
    """How many terms the document has, repeated ones too."""

    def rows(self, document: int) -> tuple[list[str], list[bytes]]:
        """The columns term and data for a document of this number."""
        entries = self.entries.copy()
        entries["place"] += first_place(document)
        terms: list[str] = []
        data: list[bytes] = []
        start = 0
        for term, count in zip(self.terms, self.counts, strict=True):
            for first in range(start, start + count, _ENTRIES_IN_ROW):
                last = min(first + _ENTRIES_IN_ROW, start + count)
                terms.append(term)
                data.append(entries[first:last].tobytes())
            start += count
        return terms, data


def postings_of(texts: Sequence[str]) -> Postings:
    """The terms of a document's chunks, in which places count from 0."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    tokens = 0
    for ordinal, text in enumerate(texts):
        terms = analysis.terms(text)
        tokens += len(terms)
        for term, frequency in Counter(terms).items():
            found.setdefault(term, []).append((ordinal, frequency, len(terms)))
    return Postings(
        terms=[*found],
        counts=[len(entries) for entries in found.values()],
        entries=np.array([entry for entries in found.values() for entry in entries], ENTRY),
        tokens=tokens,
    )
