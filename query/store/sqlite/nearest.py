"""The nearest neighbours within one collection: exact, or by codes where it is large."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

from dataclasses import dataclass

import apsw
import numpy as np
from numpy.typing import NDArray

from query.store.sqlite import code_blocks, vector_blocks
from query.store.sqlite.best import Best
from query.store.sqlite.blocks import Floats, Scores, Slots
from query.store.sqlite.catalog import Scope
from query.store.sqlite.codes import Question
from query.store.sqlite.filters import Restriction
from query.store.sqlite.pieces import PIECE_BYTES, Pieces

# A vector that is fetched by itself costs as much as this many that are scanned.
_FETCH_COST = 8
_MOST_FETCHED_BYTES = 8 * 1024 * 1024
# How many standard deviations an estimate may err: from the signs, before the second plane is left
# alone, and from both, before the vector is. The first is measured among all vectors, and those
# that are near err by more, hence the wide margin, which costs next to nothing: with it all of the
# ten nearest were found among 50,000 x 1536 in loose clusters, with 3.5 it were 99 of 100.
_ROUGH_DEVIATIONS = 6.0
_DEVIATIONS = 4.5
_FIRST_LOOKS = 64
_MEASURED = 1024
"""So many estimates are made twice before the first ones are trusted to choose."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """Neighbours of one query in one collection."""

    connection: apsw.Connection
    scope: Scope
    query: Floats
    """Of length one."""
    approximate_from: int
    """The bytes of vectors from which a collection is searched by its codes."""
    memory: Pieces

    def rank(
        self, documents: Restriction | None, limit: int, threshold: float | None
    ) -> list[tuple[int, float]]:
        """Slot and cosine of the best `limit` and of all that equal the last, best first."""
        best = Best(limit, threshold)
        count = self.scope.collection.chunk_count
        large = 4 * self.scope.dimensions * count >= self.approximate_from
        centre = code_blocks.centre_of(self.connection, self.scope) if large else None
        allowed = None if documents is None else self._slots_of(documents)
        if allowed is not None and self._is_few(len(allowed), large=centre is not None):
            self._look(allowed, best)
            return best.ranking()
        mask = None
        if allowed is not None:
            mask = np.zeros(count, np.bool_)
            mask[allowed] = True
        if centre is None:
            self._scan(mask, best)
        else:
            self._estimate(centre, mask, limit, best)
        return best.ranking()

    def cosines(self, slots: Slots) -> Scores:
        """The cosine of each of these slots."""
        found = np.empty(len(slots))
        order = np.argsort(slots)
        size = max(1, PIECE_BYTES // (4 * self.scope.dimensions))
        for start in range(0, len(slots), size):
            places = order[start : start + size]
            vectors = vector_blocks.gather(self.connection, self.scope, slots[places])
            found[places] = self._compare(vectors)
        return found

    def _compare(self, vectors: Floats) -> Scores:
        # One row is compared like any other: equal vectors get equal scores, wherever they stand,
        # and the score in a hit is the one that was held against the threshold.
        cosines: Scores = np.vecdot(vectors, self.query).astype(np.float64)
        return np.clip(cosines, -1.0, 1.0)

    def _slots_of(self, documents: Restriction) -> Slots:
        rows = self.connection.execute(
            f"SELECT slot FROM places WHERE document IN {documents.sql}", documents.values
        )
        return np.sort(np.fromiter((slot for (slot,) in rows), np.int64))

    def _is_few(self, count: int, *, large: bool) -> bool:
        """Whether so many are looked at one by one."""
        if large and count * 4 * self.scope.dimensions > _MOST_FETCHED_BYTES:
            return False
        return count * _FETCH_COST <= self.scope.collection.chunk_count

    def _look(self, slots: Slots, best: Best) -> Scores:
        cosines = self.cosines(slots)
        best.offer(slots, cosines)
        return cosines

    def _scan(self, mask: NDArray[np.bool_] | None, best: Best) -> None:
        count = self.scope.collection.chunk_count
        for start, vectors in vector_blocks.scan(self.connection, self.scope, count, self.memory):
            slots = np.arange(start, start + len(vectors))
            cosines = self._compare(vectors)
            if mask is not None:
                slots, cosines = slots[mask[slots]], cosines[mask[slots]]
            best.offer(slots, cosines)

    def _estimate(
        self, centre: Floats, mask: NDArray[np.bool_] | None, limit: int, best: Best
    ) -> None:
        """Look at vectors in the order of their estimates until the next one is out of question."""
        slots, estimates = self._candidates(Question(self.query, centre), mask, limit)
        order = np.argsort(-estimates)
        slots, estimates = slots[order], estimates[order]
        errors = np.empty(0)
        looks = max(_FIRST_LOOKS, 2 * limit)
        while len(errors) < len(slots):
            now = slice(len(errors), len(errors) + looks)
            errors = np.append(errors, self._look(slots[now], best) - estimates[now])
            if len(errors) < len(slots):
                likely = estimates[len(errors)] + errors.mean() + _DEVIATIONS * errors.std()
                if likely < best.bar:
                    break
            looks = max(_FIRST_LOOKS, len(errors) // 2)

    def _candidates(
        self, question: Question, mask: NDArray[np.bool_] | None, limit: int
    ) -> tuple[Slots, Floats]:
        """The slots that are worth a second estimate, and that estimate."""
        best = Best(_FIRST_LOOKS + 4 * limit, None)
        slots, estimates = [], []
        errors = np.empty(0, np.float32)
        deviation = np.inf
        for piece in code_blocks.scan(
            self.connection, self.scope, self.scope.collection.chunk_count, self.memory
        ):
            rough = question.rough(piece.signs, piece.scale, piece.offset).reshape(-1)
            chance = rough[: piece.size] >= best.bar - _ROUGH_DEVIATIONS * deviation
            if mask is not None:
                chance &= mask[piece.start : piece.start + piece.size]
            places = np.flatnonzero(chance)
            estimated = question.estimate(piece.take(places))
            best.offer(piece.start + places, estimated.astype(np.float64))
            slots.append(piece.start + places)
            estimates.append(estimated)
            if len(errors) < _MEASURED:
                errors = np.append(errors, rough[places] - estimated)
                deviation = errors.std() if len(errors) >= _MEASURED else np.inf
        return np.concatenate(slots), np.concatenate(estimates)
