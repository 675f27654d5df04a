"""A ranking: places of chunks and their scores, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from query.store.postgresql.places import Places

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Two columns. Equal scores stand in no order of their own."""

    places: Places
    scores: Scores

    @classmethod
    def sorted(cls, places: Places, scores: Scores) -> Self:
        """The ranking of these, given in any order."""
        order = np.argsort(-scores, kind="stable")
        return cls(places[order], scores[order])

    @classmethod
    def of(cls, rows: Sequence[tuple[int, float]]) -> Self:
        """The ranking of rows that stand in order."""
        places = np.array([place for place, _ in rows], np.int64)
        return cls(places, np.array([score for _, score in rows], np.float64))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice) -> "Ranking":
        return Ranking(self.places[rows], self.scores[rows])

    def best(self, count: int) -> "Ranking":
        """The first `count` rows and all that equal the last of them."""
        if len(self) <= count:
            return self
        return self[: int(np.searchsorted(-self.scores, -self.scores[count - 1], side="right"))]
