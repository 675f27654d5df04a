"""Reciprocal rank fusion: one ranking from two, by rank alone."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

RANK_CONSTANT = 60

Item = TypeVar("Item", bound=Hashable)


def fusion_depth(top_k: int) -> int:
    """How much of each ranking is fused: enough that a chunk good in both is in neither's tail."""
    return max(100, 4 * top_k)


def fuse(*rankings: Sequence[Item]) -> dict[Item, float]:
    """Each item's score, the sum of 1 / (60 + rank) over the rankings it is in; ranks from 1."""
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (RANK_CONSTANT + rank)
    return scores
