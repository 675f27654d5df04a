"""The best of many scores that come in pieces."""

import numpy as np

from query.store.sqlite.blocks import Scores, Slots


class Best:
    """The best `limit` scores so far and all that equal the last of them.

    With a threshold only those count that reach it.
    """

    def __init__(self, limit: int, threshold: float | None) -> None:
        self._limit = limit
        self._bar = -np.inf if threshold is None else threshold
        self._slots = np.empty(0, np.int64)
        self._scores = np.empty(0, np.float64)

    @property
    def bar(self) -> float:
        """What a score needs to be among the best."""
        return float(self._bar)

    def offer(self, slots: Slots, scores: Scores) -> None:
        """Keep those that are among the best."""
        kept = np.flatnonzero(scores >= self._bar)
        if not len(kept):
            return
        self._slots = np.concatenate([self._slots, slots[kept]])
        self._scores = np.concatenate([self._scores, scores[kept]])
        if len(self._scores) > self._limit:
            self._bar = np.partition(self._scores, -self._limit)[-self._limit]
            kept = np.flatnonzero(self._scores >= self._bar)
            self._slots, self._scores = self._slots[kept], self._scores[kept]

    def ranking(self) -> list[tuple[int, float]]:
        """Slots with their scores, best first; the order of equals is open."""
        order = np.argsort(-self._scores)
        return [*zip(self._slots[order].tolist(), self._scores[order].tolist(), strict=True)]
