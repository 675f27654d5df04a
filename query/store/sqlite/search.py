"""The three ways to search one collection, all exact."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import json

import apsw

from query.store.fusion import fuse, fusion_depth
from query.store.model import Hit, SearchMode, SearchQuery
from query.store.sqlite import full_text
from query.store.sqlite.catalog import Scope
from query.store.sqlite.filters import Restriction, restriction
from query.store.vector import cosine, normalised

_Row = tuple[int, str, float]


def search(connection: apsw.Connection, scope: Scope, query: SearchQuery) -> list[Hit]:
    """The best `top_k` chunks; equal scores are ordered by dense score, then chunk id."""
    vector = None
    if query.vector is not None:
        vector = normalised(query.vector, scope.collection.space.dimensions)
    documents = restriction(scope, query.filter) if query.filter else None
    hybrid = query.mode is SearchMode.HYBRID
    depth = fusion_depth(query.top_k) if hybrid else query.top_k
    rankings: list[list[_Row]] = []
    if query.mode is not SearchMode.FULL_TEXT and vector is not None:
        rankings.append(_dense(connection, scope, vector, documents, depth))
    if query.mode is not SearchMode.DENSE and query.text is not None:
        rankings.append(full_text.search(connection, scope, query.text, documents, depth))
    if hybrid:
        scores = fuse(*([key for key, _, _ in ranking] for ranking in rankings))
    else:
        scores = {key: score for key, _, score in rankings[0]}
    similarity = {} if vector is None else _similarities(connection, vector, list(scores))
    names = {key: chunk_id for ranking in rankings for key, chunk_id, _ in ranking}
    best = sorted(scores, key=lambda key: (-scores[key], -similarity.get(key, 0.0), names[key]))
    return _hits(connection, best[: query.top_k], scores, similarity)


def _dense(
    connection: apsw.Connection,
    scope: Scope,
    vector: bytes,
    documents: Restriction | None,
    count: int,
) -> list[_Row]:
    """The best `count` rows in an order of their own, not of the file.

    One row more than wanted shows whether the last place is shared; then all that share it are
    fetched, so that the chunk id decides who gets it. To order by it in SQL would fetch the id of
    every chunk that is compared.
    """
    limit = count + 1
    while True:
        rows = _nearest(connection, scope, vector, documents, limit)
        if len(rows) < limit or rows[-1][2] != rows[count - 1][2]:
            return sorted(rows, key=lambda row: (-row[2], row[1]))[:count]
        limit *= 2


def _nearest(
    connection: apsw.Connection,
    scope: Scope,
    vector: bytes,
    documents: Restriction | None,
    limit: int,
) -> list[_Row]:
    if documents is None:
        source = "vectors WHERE id BETWEEN ? AND ?"
        values: tuple[str | int | float | bool, ...] = (scope.first_chunk, scope.last_chunk)
    else:
        source = (
            "chunks CROSS JOIN vectors ON vectors.id = chunks.id"
            f" WHERE chunks.document IN {documents.sql}"
        )
        values = documents.values
    rows = connection.execute(
        "SELECT nearest.id, chunk_id, distance FROM (SELECT vectors.id AS id,"
        f" vec_distance_l2(vector, ?) AS distance FROM {source} ORDER BY distance LIMIT ?)"
        " AS nearest JOIN chunks ON chunks.id = nearest.id ORDER BY distance",
        (vector, *values, limit),
    )
    return [(key, chunk_id, cosine(distance)) for key, chunk_id, distance in rows]


def _similarities(connection: apsw.Connection, vector: bytes, keys: list[int]) -> dict[int, float]:
    rows = connection.execute(
        "SELECT id, vec_distance_l2(vector, ?) FROM vectors"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (vector, json.dumps(keys)),
    )
    return {key: cosine(distance) for key, distance in rows}


def _hits(
    connection: apsw.Connection,
    keys: list[int],
    scores: dict[int, float],
    similarity: dict[int, float],
) -> list[Hit]:
    rows = connection.execute(
        "SELECT chunks.id, chunk_id, document_id, title, text, metadata, section, start_offset,"
        " end_offset, position FROM json_each(?) AS wanted"
        " CROSS JOIN chunks ON chunks.id = wanted.value"
        " CROSS JOIN documents ON documents.id = chunks.document ORDER BY wanted.key",
        (json.dumps(keys),),
    )
    return [
        Hit(
            chunk_id=chunk_id,
            document_id=document_id,
            title=title,
            text=text,
            score=scores[key],
            dense_score=similarity.get(key),
            metadata=json.loads(metadata),
            section=section,
            start=start,
            end=end,
            position=position,
        )
        for key, chunk_id, document_id, title, text, metadata, section, start, end, position in rows
    ]
