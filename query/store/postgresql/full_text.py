"""Full text within one collection: its inverted table, ranked by bm25 with its own statistics."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import asyncio
import math
from collections.abc import Sequence

import numpy as np
from asyncpg import Record

from query.store import analysis
from query.store.postgresql.catalog import Scope
from query.store.postgresql.connection import Connection
from query.store.postgresql.filters import Restriction
from query.store.postgresql.postings import ENTRY
from query.store.postgresql.ranking import Ranking

_K1 = 1.2
_B = 0.75

_MAX_QUERY_TERMS = 64
_COMMON_TERMS_COUNT_BELOW = 1000

_CHUNKS = f"sum(octet_length(data)) / {ENTRY.itemsize}"


async def search(
    connection: Connection, scope: Scope, text: str, documents: Restriction | None
) -> Ranking:
    """Every chunk with any of the text's words, by its score."""
    wanted = await _useful(connection, scope, analysis.query_terms(text))
    values = documents.values if documents else (scope.id,)
    fitting = f"FILTER (WHERE {documents.as_set})" if documents else ""
    rows = await connection.fetch(
        f"SELECT {_CHUNKS} AS chunks, string_agg(data, '') {fitting} AS data FROM postings"
        f" WHERE collection = $1 AND term = ANY (${len(values) + 1}::text[])"
        " GROUP BY term ORDER BY term",
        *(*values, wanted),
    )
    return await asyncio.to_thread(_rank, scope, rows)


async def _useful(connection: Connection, scope: Scope, terms: list[str]) -> list[str]:
    """The terms worth a look: in a small collection all, of very many the rarest.

    In a large collection a word that most chunks have costs the most and tells the least: it is
    left out where a rarer one is there.
    """
    chunks = scope.collection.chunk_count
    if chunks < _COMMON_TERMS_COUNT_BELOW and len(terms) <= _MAX_QUERY_TERMS:
        return terms
    rows = await connection.fetch(
        f"SELECT term, {_CHUNKS} AS chunks FROM postings WHERE collection = $1"
        " AND term = ANY ($2::text[]) GROUP BY term ORDER BY chunks, term",
        *(scope.id, terms),
    )
    found = [row["term"] for row in rows]
    if chunks >= _COMMON_TERMS_COUNT_BELOW:
        found = [row["term"] for row in rows if row["chunks"] <= chunks / 2] or found
    return found[:_MAX_QUERY_TERMS]


def _rank(scope: Scope, rows: Sequence[Record]) -> Ranking:
    average = scope.token_count / max(1, scope.collection.chunk_count)
    places = [np.empty(0, np.int64)]
    shares = [np.empty(0, np.float64)]
    for row in rows:
        entries = np.frombuffer(row["data"] or b"", ENTRY)
        having = int(row["chunks"])
        weight = math.log1p((scope.collection.chunk_count - having + 0.5) / (having + 0.5))
        frequency = entries["frequency"].astype(np.float64)
        length = _K1 * (1 - _B + _B * entries["length"] / average)
        places.append(entries["place"])
        shares.append(weight * (_K1 + 1) * frequency / (frequency + length))
    found, rows_of = np.unique(np.concatenate(places), return_inverse=True)
    scores = np.bincount(rows_of, weights=np.concatenate(shares), minlength=len(found))
    return Ranking.sorted(found, scores.astype(np.float64))
