"""Collections, and the one place where a tenant's name for one becomes a scope."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Record

from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace
from query.store.errors import CollectionNotFoundError, SpaceMismatchError
from query.store.model import STAGED, Collection, staged
from query.store.postgresql.connection import Connection
from query.store.postgresql.texts import original, stored
from query.store.postgresql.vectors import MAX_DIMENSIONS

_SELECT = """
    SELECT collections.*, documents, chunks, tokens, ef_search,
        coalesce(updated_at, created_at) AS updated_at
    FROM collections
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(documents), 0)::bigint AS documents,
            coalesce(sum(chunks), 0)::bigint AS chunks,
            coalesce(sum(tokens), 0)::bigint AS tokens, max(updated_at) AS updated_at
        FROM tallies WHERE tallies.collection = collections.id
    ) AS tally
    LEFT JOIN LATERAL (
        SELECT ef_search FROM vector_indexes WHERE vector_indexes.collection = collections.id
    ) AS vector_index ON true
"""
_SLOTS = 32


@dataclass(frozen=True, slots=True)
class Place:
    """One collection of one tenant, to write into. Only this module makes one."""

    id: int
    space: EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Scope(Place):
    """One collection of one tenant, to read. Only this module makes one."""

    collection: Collection
    token_count: int
    ef_search: int | None
    """How far to look in the index of its vectors; None where there is none that proved good."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Documents, chunks and terms that a change adds (or, negative, removes)."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0


async def find(connection: Connection, tenant: str, name: str) -> Scope | None:
    """The tenant's collection of that name, if there is one."""
    row = await connection.fetchrow(
        _SELECT + "WHERE tenant = $1 AND name = $2", stored(tenant), stored(name)
    )
    return None if row is None else _scope(row)


async def require(connection: Connection, tenant: str, name: str) -> Scope:
    """The tenant's collection of that name; CollectionNotFoundError where there is none."""
    scope = await find(connection, tenant, name)
    if scope is None:
        raise CollectionNotFoundError(name)
    return scope


async def page(connection: Connection, tenant: str, after: str, limit: int) -> list[Collection]:
    """The tenant's collections by name, those behind `after`, without the staged ones."""
    rows = await connection.fetch(
        _SELECT + "WHERE tenant = $1 AND name > $2 AND right(name, length($3)) <> $3"
        " ORDER BY name LIMIT $4",
        *(stored(tenant), stored(after), STAGED, limit),
    )
    return [_scope(row).collection for row in rows]


async def hold(connection: Connection, tenant: str, name: str) -> Place:
    """The collection to write into, kept where it is until the end of the transaction.

    Other writers hold it too; who deletes or promotes it waits. CollectionNotFoundError.
    """
    row = await _locked(connection, tenant, name, "KEY SHARE")
    if row is None:
        raise CollectionNotFoundError(name)
    return Place(row["id"], _space(row))


async def pin(
    connection: Connection, tenant: str, name: str, space: EmbeddingSpace, endpoint: str
) -> Place:
    """As `hold`, and created where it is absent; SpaceMismatchError."""
    if not 1 <= space.dimensions <= MAX_DIMENSIONS:
        raise ValueError(f"PostgreSQL keeps vectors of 1 to {MAX_DIMENSIONS} dimensions")
    while (row := await _locked(connection, tenant, name, "KEY SHARE")) is None:
        await connection.execute(
            "INSERT INTO collections"
            " (tenant, name, provider, model, dimensions, prefix, endpoint_space, endpoint)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            *(stored(tenant), stored(name), space.provider.value, stored(space.model)),
            *(space.dimensions, stored(space.prefix), stored(space.endpoint_space)),
            stored(endpoint),
        )
    place = Place(row["id"], _space(row))
    if place.space != space:
        raise SpaceMismatchError(expected=place.space, actual=space)
    if row["endpoint"] != stored(endpoint):
        await connection.execute(
            "UPDATE collections SET endpoint = $2 WHERE id = $1", place.id, stored(endpoint)
        )
    return place


async def count(connection: Connection, place: Place, change: Totals) -> None:
    """Add `change` to the collection's counts and note the time of the change."""
    await connection.execute(
        "INSERT INTO tallies AS old (collection, slot, documents, chunks, tokens)"
        " VALUES ($1, pg_backend_pid() % $2, $3, $4, $5)"
        " ON CONFLICT (collection, slot) DO UPDATE SET documents = old.documents + $3,"
        " chunks = old.chunks + $4, tokens = old.tokens + $5, updated_at = now()",
        *(place.id, _SLOTS, change.documents, change.chunks, change.tokens),
    )


async def remove(connection: Connection, tenant: str, name: str) -> bool:
    """Take the collection away, its rows left to upkeep; False where there is none."""
    row = await _locked(connection, tenant, name, "UPDATE")
    if row is not None:
        await _discard(connection, row["id"])
    return row is not None


async def promote(connection: Connection, tenant: str, name: str) -> bool:
    """Put the staged collection in the place of `name`; False where their documents differ."""
    # Always locked in this order, the order of the names.
    old = await _locked(connection, tenant, name, "UPDATE")
    new = await _locked(connection, tenant, staged(name), "UPDATE")
    if old is None or new is None:
        raise CollectionNotFoundError(name if old is None else staged(name))
    documents = "SELECT document_id, content_hash FROM documents WHERE collection = "
    for first, second in (("$1", "$2"), ("$2", "$1")):
        difference = f"({documents}{first}) EXCEPT ({documents}{second}) LIMIT 1"
        if await connection.fetchrow(difference, old["id"], new["id"]) is not None:
            return False
    await _discard(connection, old["id"])
    await connection.execute(
        "UPDATE collections SET name = $2, created_at = $3 WHERE id = $1",
        *(new["id"], old["name"], old["created_at"]),
    )
    await count(connection, Place(new["id"], _space(new)), Totals())
    return True


async def _locked(connection: Connection, tenant: str, name: str, strength: str) -> Record | None:
    return await connection.fetchrow(
        f"SELECT * FROM collections WHERE tenant = $1 AND name = $2 FOR {strength}",
        *(stored(tenant), stored(name)),
    )


async def _discard(connection: Connection, key: int) -> None:
    await connection.execute("DELETE FROM collections WHERE id = $1", key)
    await connection.execute("DELETE FROM tallies WHERE collection = $1", key)
    await connection.execute("INSERT INTO discarded VALUES ($1)", key)


def _space(row: Record) -> EmbeddingSpace:
    return EmbeddingSpace(
        ModelProvider(row["provider"]),
        original(row["model"]),
        row["dimensions"],
        original(row["prefix"]),
        original(row["endpoint_space"]),
    )


def _scope(row: Record) -> Scope:
    space = _space(row)
    created_at: datetime = row["created_at"]
    collection = Collection(
        name=original(row["name"]),
        space=space,
        endpoint=original(row["endpoint"]),
        document_count=row["documents"],
        chunk_count=row["chunks"],
        created_at=created_at,
        updated_at=row["updated_at"],
    )
    return Scope(row["id"], space, collection, row["tokens"], row["ef_search"])
