"""The index of one collection's vectors: HNSW over half-precision copies of them.

It is a partial index, so that a search in one collection never meets another's vectors. What it
finds is scored again with the vectors themselves. How far a search must look to miss nothing
depends on the vectors: it is measured against exact answers, and an index that finds too little
however far it looks is not used.
"""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import math
from collections.abc import Sequence

import numpy as np
from asyncpg import Record

from query.store.postgresql.connection import Connection
from query.store.postgresql.filters import Restriction
from query.store.postgresql.places import PLACE
from query.store.vector import normalised

MAX_DIMENSIONS = 4_000
"""What an index of half-precision vectors takes."""

_M = 16
_EF_CONSTRUCTION = 128
_EF_SEARCH = (100, 200, 400, 1000)
"""How far to look, tried in this order; the last is pgvector's limit."""

# Visiting a vector through the index costs as much as this many in a plain scan.
_COST = 45

_QUESTIONS = 50
_TOP = 12
"""The ten best, and the two that a question is made of."""
_RECALL = 0.995
_EQUAL = 1e-6

_SAMPLE = """
    SELECT vector FROM (
        SELECT collection, document, ordinal FROM vectors WHERE collection = $1
        ORDER BY random() LIMIT $2
    ) AS sample JOIN vectors USING (collection, document, ordinal)
"""
_EXACT = (
    f"SELECT {PLACE} AS place, vector <#> $2 AS negative FROM vectors WHERE collection = $1"
    " ORDER BY negative LIMIT $3"
)


def worth_from(chunks: int, count: int) -> int:
    """How many of the collection's chunks a filter must leave for the index to be the faster way.

    The index comes by what fits and what does not, and stops when it has enough of what fits; a
    plain scan reads all that fits and nothing else.
    """
    return math.isqrt(_COST * _candidates(count) * chunks)


async def nearest(
    connection: Connection,
    collection: int,
    vector: bytes,
    documents: Restriction | None,
    *,
    count: int,
    ef_search: int,
) -> Sequence[Record]:
    """The `count` nearest and some more: places with pgvector's negative product, best first."""
    # A look no farther than what is wanted would find too little. And the planner is not to take
    # a plain scan after all: that the index is the better way has been decided.
    farthest = min(max(ef_search, _candidates(count)), _EF_SEARCH[-1])
    await connection.execute(f"SET LOCAL hnsw.ef_search = {farthest}; SET LOCAL enable_sort = off;")
    values = documents.values if documents else (collection,)
    fitting = f"AND {documents.one_by_one}" if documents else ""
    dimensions = len(vector) // 4
    vector_at, limit_at = f"${len(values) + 1}", f"${len(values) + 2}"
    # The planner knows the values bound (plan_cache_mode), and so which index fits.
    return await connection.fetch(
        f"SELECT place, negative FROM (SELECT {PLACE} AS place, vector <#> {vector_at} AS negative"
        f" FROM vectors WHERE collection = $1 {fitting}"
        f" ORDER BY (vector::halfvec({dimensions})) <#> {vector_at}::vector::halfvec({dimensions})"
        f" LIMIT {limit_at}) AS found ORDER BY negative",
        *(*values, vector, _candidates(count)),
    )


async def is_valid(connection: Connection, collection: int) -> bool | None:
    """Whether the collection's index is complete; None where there is none."""
    valid: bool | None = await connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", _name(collection)
    )
    return valid


async def build(
    connection: Connection, collection: int, dimensions: int, memory_megabytes: int
) -> None:
    """Make the index beside readers and writers, outside of a transaction."""
    await connection.execute(f"SET maintenance_work_mem = '{memory_megabytes}MB'")
    await connection.execute(
        f"CREATE INDEX CONCURRENTLY {_name(collection)} ON vectors"
        f" USING hnsw ((vector::halfvec({dimensions})) halfvec_ip_ops)"
        f" WITH (m = {_M}, ef_construction = {_EF_CONSTRUCTION}) WHERE collection = {collection}"
    )


async def drop(connection: Connection, collection: int) -> None:
    """Take the index away beside readers and writers, outside of a transaction."""
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_name(collection)}")


async def measured(connection: Connection, collection: int) -> int | None:
    """How far to look so that nearly nothing is missed; None where that is never enough."""
    questions = await _questions(connection, collection)
    for ef_search in _EF_SEARCH:
        missed = 0
        for vector, last in questions:
            async with connection.transaction():
                rows = await nearest(
                    connection, collection, vector, None, count=_TOP, ef_search=ef_search
                )
            missed += _TOP - sum(row["negative"] <= last for row in rows[:_TOP])
        if missed <= (1 - _RECALL) * _TOP * len(questions):
            return ef_search
    return None


async def _questions(connection: Connection, collection: int) -> list[tuple[bytes, float]]:
    """Vectors to look for, and how near the last is that must be found.

    Each is halfway between two of the collection's own. One of its own would be too easy: the index
    holds the nearest of each by name.
    """
    rows = await connection.fetch(_SAMPLE, collection, 2 * _QUESTIONS)
    questions = []
    for one, other in zip(rows[::2], rows[1::2], strict=False):
        half = np.frombuffer(one["vector"], "<f4") + np.frombuffer(other["vector"], "<f4")
        if half.any():
            vector = normalised(half.tobytes(), len(half))
            exact = await connection.fetch(_EXACT, collection, vector, _TOP)
            questions.append((vector, exact[-1]["negative"] + _EQUAL))
    return questions


def _candidates(count: int) -> int:
    """How many are scored again, by the vectors themselves, for `count` that are wanted."""
    return 2 * count + 40


def _name(collection: int) -> str:
    return f"vectors_of_{collection:d}"
