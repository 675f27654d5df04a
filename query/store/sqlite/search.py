"""The three ways to search one collection."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import apsw
import numpy as np

from query.store.errors import SpaceMismatchError
from query.store.fusion import fuse, fusion_depth
from query.store.model import Hit, SearchMode, SearchQuery
from query.store.sqlite import full_text, vector_blocks
from query.store.sqlite.catalog import Scope
from query.store.sqlite.filters import restriction
from query.store.sqlite.nearest import Nearest
from query.store.sqlite.pieces import Pieces
from query.store.vector import normalised

Ranked = tuple[int, float]
"""A slot and its score."""

_LOOKED_AT_ONCE = 256


def search(
    connection: apsw.Connection,
    scope: Scope,
    query: SearchQuery,
    approximate_from: int,
    memory: Pieces,
) -> list[Hit]:
    """The best `top_k` chunks; equal scores are ordered by dense score, then chunk id."""
    if query.space is not None and query.space != scope.collection.space:
        raise SpaceMismatchError(expected=scope.collection.space, actual=query.space)
    nearest = None
    if query.vector is not None:
        vector = np.frombuffer(normalised(query.vector, scope.dimensions), "<f4")
        nearest = Nearest(connection, scope, vector, approximate_from, memory)
    documents = restriction(scope, query.filter) if query.filter else None
    hybrid = query.mode is SearchMode.HYBRID
    depth = fusion_depth(query.top_k) if hybrid else query.top_k
    rankings: list[list[Ranked]] = []
    if query.mode is not SearchMode.FULL_TEXT and nearest is not None:
        rankings.append(nearest.rank(documents, depth, query.threshold))
    if query.mode is not SearchMode.DENSE and query.text is not None:
        found = full_text.search(connection, scope, query.text, documents)
        if nearest is not None and query.threshold is not None:
            found = _reaching(found, nearest, query.threshold)
        rankings.append(_best(found, depth))
    rankings = [_in_order(connection, scope, ranking)[:depth] for ranking in rankings]
    scores = dict(rankings[0])
    similarity: dict[int, float] = {}
    if query.mode is not SearchMode.FULL_TEXT:
        similarity.update(scores)
    if hybrid:
        scores = fuse(*([slot for slot, _ in ranking] for ranking in rankings))
    best = _best(sorted(scores.items(), key=lambda row: -row[1]), query.top_k)
    if nearest is not None:
        unknown = np.array([slot for slot, _ in best if slot not in similarity], np.int64)
        similarity.update(zip(unknown.tolist(), nearest.cosines(unknown).tolist(), strict=True))
    best = _in_order(connection, scope, best, similarity)[: query.top_k]
    return _hits(connection, scope, best, similarity, with_vectors=query.with_vectors)


def _reaching(found: Iterator[Ranked], nearest: Nearest, threshold: float) -> Iterator[Ranked]:
    """Those whose cosine reaches the threshold; only as many are looked at as are taken."""
    while piece := [*islice(found, _LOOKED_AT_ONCE)]:
        cosines = nearest.cosines(np.array([slot for slot, _ in piece], np.int64))
        yield from (piece[place] for place in np.flatnonzero(cosines >= threshold))


def _best(ranking: Iterable[Ranked], count: int) -> list[Ranked]:
    """The first `count` and all that equal the last of them."""
    taken: list[Ranked] = []
    for slot, score in ranking:
        if len(taken) >= count and score != taken[-1][1]:
            break
        taken.append((slot, score))
    return taken


def _in_order(
    connection: apsw.Connection,
    scope: Scope,
    ranking: Sequence[Ranked],
    similarity: Mapping[int, float] | None = None,
) -> list[Ranked]:
    """By score, then dense score, then chunk id, which is read only where the others are equal."""
    keys = {slot: (-score, -(similarity or {}).get(slot, 0.0)) for slot, score in ranking}
    times = Counter(keys.values())
    equals = [slot for slot, key in keys.items() if times[key] > 1]
    names: dict[int, str] = {}
    if equals:
        names = dict(
            connection.execute(
                "SELECT slot, chunk_id FROM places CROSS JOIN chunks ON chunks.id = places.id"
                " WHERE places.collection = ? AND slot IN (SELECT value FROM json_each(?))",
                (scope.id, json.dumps(equals)),
            )
        )
    return sorted(ranking, key=lambda row: (keys[row[0]], names.get(row[0], "")))


def _hits(
    connection: apsw.Connection,
    scope: Scope,
    best: Sequence[Ranked],
    similarity: Mapping[int, float],
    *,
    with_vectors: bool,
) -> list[Hit]:
    slots = [slot for slot, _ in best]
    vectors: list[bytes | None] = [None] * len(slots)
    if with_vectors:
        gathered = vector_blocks.gather(connection, scope, np.array(slots, np.int64))
        vectors = [vector.tobytes() for vector in gathered]
    rows = connection.execute(
        "SELECT chunk_id, document_id, title, text, metadata, section, start_offset,"
        " end_offset, position FROM json_each(?) AS wanted"
        " CROSS JOIN places ON places.collection = ? AND places.slot = wanted.value"
        " CROSS JOIN chunks ON chunks.id = places.id"
        " CROSS JOIN documents ON documents.id = chunks.document ORDER BY wanted.key",
        (json.dumps(slots), scope.id),
    )
    return [
        Hit(
            chunk_id=chunk_id,
            document_id=document_id,
            title=title,
            text=text,
            score=score,
            dense_score=similarity.get(slot),
            metadata=json.loads(metadata),
            section=section,
            start=start,
            end=end,
            position=position,
            vector=vector,
        )
        for (slot, score), vector, (
            chunk_id, document_id, title, text, metadata, section, start, end, position
        ) in zip(best, vectors, rows, strict=True)
    ]  # fmt: skip
