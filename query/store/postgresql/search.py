"""The three ways to search one collection."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from query.store.errors import SpaceMismatchError
from query.store.fusion import fuse, fusion_depth
from query.store.model import Hit, SearchMode, SearchQuery
from query.store.postgresql import full_text
from query.store.postgresql.catalog import Scope
from query.store.postgresql.connection import Connection
from query.store.postgresql.dense import Nearest
from query.store.postgresql.filters import restriction
from query.store.postgresql.places import at_places
from query.store.postgresql.ranking import Ranking
from query.store.postgresql.texts import original
from query.store.vector import normalised

Ranked = tuple[int, float]
"""A place and its score."""

_LOOKED_AT_ONCE = 256


async def search(connection: Connection, scope: Scope, query: SearchQuery) -> list[Hit]:
    """The best `top_k` chunks; equal scores are ordered by dense score, then chunk id."""
    if query.space is not None and query.space != scope.space:
        raise SpaceMismatchError(expected=scope.space, actual=query.space)
    nearest = None
    if query.vector is not None:
        vector = normalised(query.vector, scope.space.dimensions)
        nearest = Nearest(connection, scope, vector)
    documents = restriction(scope, query.filter) if query.filter else None
    hybrid = query.mode is SearchMode.HYBRID
    depth = fusion_depth(query.top_k) if hybrid else query.top_k
    rankings: list[Ranking] = []
    if query.mode is not SearchMode.FULL_TEXT and nearest is not None:
        rankings.append(await nearest.rank(documents, depth, query.threshold))
    if query.mode is not SearchMode.DENSE and query.text is not None:
        found = await full_text.search(connection, scope, query.text, documents)
        if nearest is not None and query.threshold is not None:
            found = await _reaching(found, nearest, query.threshold, depth)
        rankings.append(found.best(depth))
    ordered = [(await _in_order(connection, scope, _rows(ranking)))[:depth] for ranking in rankings]
    scores = dict(ordered[0])
    similarity = {} if query.mode is SearchMode.FULL_TEXT else dict(scores)
    if hybrid:
        scores = fuse(*([place for place, _ in ranking] for ranking in ordered))
    best = Ranking.of(sorted(scores.items(), key=lambda row: -row[1])).best(query.top_k)
    if nearest is not None:
        unknown = [place for place in best.places.tolist() if place not in similarity]
        similarity.update(await nearest.cosines(np.array(unknown, np.int64)))
    final = (await _in_order(connection, scope, _rows(best), similarity))[: query.top_k]
    return await _hits(connection, scope, final, similarity, with_vectors=query.with_vectors)


async def _reaching(found: Ranking, nearest: Nearest, threshold: float, count: int) -> Ranking:
    """The first `count` whose cosine reaches the threshold, and all that equal the last of them.

    Only as many are looked at as it takes.
    """
    kept: list[Ranked] = []
    for start in range(0, len(found), _LOOKED_AT_ONCE):
        piece = found[start : start + _LOOKED_AT_ONCE]
        if len(kept) >= count and piece.scores[0] != kept[-1][1]:
            break
        cosines = await nearest.cosines(piece.places)
        kept += [row for row in _rows(piece) if cosines[row[0]] >= threshold]
    return Ranking.of(kept)


async def _in_order(
    connection: Connection,
    scope: Scope,
    ranking: Sequence[Ranked],
    similarity: Mapping[int, float] | None = None,
) -> list[Ranked]:
    """By score, then dense score, then chunk id, which is read only where the others are equal."""
    keys = {place: (-score, -(similarity or {}).get(place, 0.0)) for place, score in ranking}
    times = Counter(keys.values())
    equals = [place for place, key in keys.items() if times[key] > 1]
    names: dict[int, str] = {}
    if equals:
        rows = await connection.fetch(
            f"SELECT place, chunk_id FROM {at_places('chunks', 2)}", scope.id, equals
        )
        names = {row["place"]: original(row["chunk_id"]) for row in rows}
    return sorted(ranking, key=lambda row: (keys[row[0]], names.get(row[0], "")))


async def _hits(
    connection: Connection,
    scope: Scope,
    best: Sequence[Ranked],
    similarity: Mapping[int, float],
    *,
    with_vectors: bool,
) -> list[Hit]:
    rows = await connection.fetch(
        "SELECT chunk_id, document_id, title, chunks.text, metadata, section, start_offset,"
        f" end_offset, position, vector FROM {at_places('chunks', 2)}"
        " JOIN documents ON documents.collection = $1 AND documents.id = chunks.document"
        " LEFT JOIN vectors ON $3 AND vectors.collection = $1"
        " AND vectors.document = chunks.document AND vectors.ordinal = chunks.ordinal"
        " ORDER BY rank",
        *(scope.id, [place for place, _ in best], with_vectors),
    )
    return [
        Hit(
            chunk_id=original(row["chunk_id"]),
            document_id=original(row["document_id"]),
            title=original(row["title"]),
            text=original(row["text"]),
            score=score,
            dense_score=similarity.get(place),
            metadata=json.loads(row["metadata"]),
            section=original(row["section"]),
            start=row["start_offset"],
            end=row["end_offset"],
            position=row["position"],
            vector=row["vector"],
        )
        for (place, score), row in zip(best, rows, strict=True)
    ]


def _rows(ranking: Ranking) -> list[Ranked]:
    return [*zip(ranking.places.tolist(), ranking.scores.tolist(), strict=True)]
