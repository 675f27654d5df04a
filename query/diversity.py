"""Maximal marginal relevance: the next passage is relevant and unlike those already chosen.

Both are scaled over the candidates, so that they weigh the same for every mode and every embedding
model. Relevance is a passage's score: the best has 1, the last 0. Likeness is the cosine of two
passages: equal ones have 1, the two least alike 0 (there are models that put all texts within a
narrow angle). Vectors of different embedding spaces cannot be compared; such passages count as
unlike, and those of the same text were folded before.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from config_core.space import EmbeddingSpace
from query.retrieval import Found, scored_by_rank

_EQUAL = 1e-6
"""What rounding leaves between the cosine of equal vectors and 1."""


def diverse(
    passages: Sequence[Found],
    count: int,
    mmr_lambda: float,
    spaces: Mapping[str, EmbeddingSpace],
) -> list[Found]:
    """The `count` passages to take, in the order of their choice; `spaces` by collection.

    `mmr_lambda` 1 gives the order that they came in, 0 looks at likeness alone after the first.
    """
    if not passages:
        return []
    relevance = _scaled(np.array([found.hit.score for found in passages]))
    likeness = _likeness(passages, spaces)
    nearest = np.zeros(len(passages))
    chosen: list[int] = []
    for _ in range(min(count, len(passages))):
        worth = mmr_lambda * relevance - (1 - mmr_lambda) * nearest
        worth[chosen] = -np.inf
        best = int(worth.argmax())
        chosen.append(best)
        nearest = np.maximum(nearest, likeness[best])
    return scored_by_rank(passages[place] for place in chosen)


def _scaled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    extent = float(scores.max() - scores.min())
    if extent == 0:
        return np.ones_like(scores)
    scaled: NDArray[np.float64] = (scores - scores.min()) / extent
    return scaled


def _likeness(
    passages: Sequence[Found], spaces: Mapping[str, EmbeddingSpace]
) -> NDArray[np.float64]:
    """The likeness of each two passages."""
    places: dict[tuple[EmbeddingSpace, int], list[int]] = {}
    for place, found in enumerate(passages):
        if found.hit.vector is not None:
            key = spaces[found.collection], len(found.hit.vector)
            places.setdefault(key, []).append(place)
    likeness = np.zeros((len(passages), len(passages)))
    for rows in places.values():
        vectors = [np.frombuffer(passages[place].hit.vector or b"", "<f4") for place in rows]
        matrix = np.stack(vectors).astype(np.float64)
        cosines = matrix @ matrix.T
        least = float(cosines.min())
        if least < 1 - _EQUAL:
            likeness[np.ix_(rows, rows)] = np.clip((cosines - least) / (1 - least), 0, 1)
    return likeness
