"""What a search has found so far, and whether it may be trusted.

A search sees the rows of one moment; the documents' rows, which say what counts, are read a moment
later. A version that came to count in between may have been seen in part only. So a version is
trusted that counted before the search began: this process knew so by then, or it has counted for so
long that clocks cannot differ by as much. Where a candidate's document has another version by then,
the search is repeated, and knows it.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from query.store.milvus.catalog import Scope
from query.store.milvus.documents import Documents, Version
from query.store.milvus.filters import fits
from query.store.model import Filter

YOUNG_SECONDS = 60.0
"""Until a version is this old, clocks that differ could hide that it was not there yet."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that the server ranked."""

    id: str
    """The key of its first row."""
    document: str
    version: str
    chunk_id: str
    score: float
    similarity: float | None


class Trust:
    """Decides, in one attempt at a search, which of what the server ranked counts and fits."""

    def __init__(self, documents: Documents, scope: Scope, wanted: Filter) -> None:
        self._documents = documents
        self._scope = scope
        self._wanted = wanted
        self._began = time.monotonic()
        self._old_enough = time.time() - YOUNG_SECONDS
        self.versions: dict[str, Version] = {}
        """The documents of all candidates, as they were read last."""
        self.complete = True
        """Whether nothing that counts can have been missed."""

    async def kept(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Those that count and fit, in the same order."""
        candidates = list(candidates)
        read = await self._documents.read(self._scope, {each.document for each in candidates})
        for key, version in read.items():
            before = self.versions.get(key)
            if before is not None and before.version != version.version:
                self.complete = False
            if version.known_since >= self._began and version.committed > self._old_enough:
                self.complete = False
        self.versions.update(read)
        return [each for each in candidates if self._counts(read.get(each.document), each)]

    def _counts(self, now: Version | None, candidate: Candidate) -> bool:
        return (
            now is not None
            and now.version == candidate.version
            and fits(self._wanted, now.stored.document_id, now.stored.metadata)
        )
