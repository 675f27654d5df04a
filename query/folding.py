"""Several lists of hits as one: merged by rank, each text once."""

from collections.abc import Sequence

from query.retrieval import Found, scored_by_rank


def merged(lists: Sequence[Sequence[Found]]) -> list[Found]:
    """One list as it is; several by rank, since their scores may come from different spaces."""
    if len(lists) == 1:
        return list(lists[0])
    return sorted(
        (found for each in lists for found in scored_by_rank(each)),
        key=lambda found: (-found.hit.score, -(found.hit.dense_score or 0.0), found.collection),
    )


def folded(passages: Sequence[Found]) -> list[Found]:
    """Each text once, in its best place; line breaks and spaces make no other text."""
    best: dict[str, Found] = {}
    for found in passages:
        best.setdefault(" ".join(found.hit.text.split()), found)
    return list(best.values())
