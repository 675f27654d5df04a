"""Full text within one collection: terms, their postings in FTS5, and bm25.

FTS5 knows one index and one set of statistics for a whole table. So that a collection is searched
alone and neither slowed nor ranked by its neighbours, each term is indexed with its collection's
number in front, and the score is rebuilt with the collection's own statistics: FTS5's bm25 of a
single term is idf * f * 2.2 / (f + K), with idf and K over the whole table, both known here, so
the term's frequency f in the chunk follows from it.
"""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import math
from collections.abc import Iterator
from dataclasses import dataclass

import apsw

from query.store import analysis
from query.store.sqlite.catalog import Scope
from query.store.sqlite.filters import Restriction

# Constants of FTS5's bm25, from its documentation; `_SMALLEST_IDF` stands in for a negative one.
_K1 = 1.2
_B = 0.75
_SMALLEST_IDF = 1e-6

_MAX_QUERY_TERMS = 64
_COMMON_TERMS_COUNT_BELOW = 1000


@dataclass(frozen=True, slots=True)
class _Term:
    text: str
    chunks: int


def terms(scope: Scope, text: str) -> tuple[str, int]:
    """The terms of a text as the index keeps them, and how many they are.

    Each has the collection's number in front, and a space separates them.
    """
    found = analysis.terms(text)
    first = _of(scope, "")
    return first + f" {first}".join(found) if found else "", len(found)


def _of(scope: Scope, term: str) -> str:
    return f"{scope.id}x{term}"


def search(
    connection: apsw.Connection,
    scope: Scope,
    text: str,
    documents: Restriction | None,
) -> Iterator[tuple[int, float]]:
    """Slot and bm25 of every chunk with any of the text's words, best first."""
    wanted = _useful(connection, scope, text)
    if not wanted:
        return iter(())
    all_chunks, all_tokens = next(
        connection.execute("SELECT sum(chunk_count), sum(token_count) FROM collections")
    )
    own_chunks = scope.collection.chunk_count
    values: list[str | int | float | bool] = []
    for term in wanted:
        everywhere = math.log((all_chunks - term.chunks + 0.5) / (term.chunks + 0.5))
        here = math.log1p((own_chunks - term.chunks + 0.5) / (term.chunks + 0.5))
        values += [f'"{term.text}"', everywhere if everywhere > 0 else _SMALLEST_IDF, here]
    values += [_K1 * _B * all_chunks / all_tokens, _K1 * _B * own_chunks / scope.token_count]
    restricted = ""
    if documents is not None:
        restricted = f"WHERE places.document IN {documents.sql}"
        values += documents.values
    rows = connection.execute(
        f"""
        WITH term (phrase, idf_all, idf) AS (VALUES {",".join(["(?,?,?)"] * len(wanted))}),
        length (per_token_all, per_token) AS (VALUES (?,?)),
        match AS MATERIALIZED (
            SELECT chunk_terms.rowid AS id, idf, -chunk_terms.rank / idf_all AS saturation
            FROM term CROSS JOIN chunk_terms WHERE chunk_terms MATCH phrase
        ),
        frequency AS (
            SELECT slot, idf, {_K1 + 1} - saturation AS rest,
                saturation * ({_K1 * (1 - _B)} + per_token_all * token_count) AS scaled,
                {_K1 * (1 - _B)} + per_token * token_count AS k
            FROM match CROSS JOIN places ON places.id = match.id CROSS JOIN length {restricted}
        )
        SELECT slot, sum(idf * {_K1 + 1} * scaled / (scaled + k * rest)) AS score
        FROM frequency GROUP BY slot ORDER BY score DESC
        """,
        values,
    )
    return ((slot, score) for slot, score in rows)


def _useful(connection: apsw.Connection, scope: Scope, text: str) -> list[_Term]:
    """The query's terms that the collection has, rarest first.

    In a large collection a word that most chunks have costs the most and tells the least: it is
    left out where a rarer one is there.
    """
    found = []
    for term in (_of(scope, each) for each in analysis.query_terms(text)):
        row = connection.execute("SELECT doc FROM term_counts WHERE term = ?", (term,)).fetchone()
        if row is not None:
            found.append(_Term(term, row[0]))
    found.sort(key=lambda term: (term.chunks, term.text))
    chunks = scope.collection.chunk_count
    if chunks >= _COMMON_TERMS_COUNT_BELOW:
        rare = [term for term in found if term.chunks <= chunks / 2]
        found = rare or found
    return found[:_MAX_QUERY_TERMS]
