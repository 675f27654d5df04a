"""Collections, and the one place where a tenant's name for one becomes a scope."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apsw

from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace
from query.store.errors import CollectionNotFoundError, SpaceMismatchError
from query.store.model import Collection
from query.store.sqlite.schema import SEQUENCE_BITS

_COLUMNS = (
    "id, name, provider, model, dimensions, prefix, endpoint_space, endpoint, "
    "document_count, chunk_count, token_count, created_at, updated_at"
)


@dataclass(frozen=True, slots=True)
class Scope:
    """One collection of one tenant. Whatever touches documents needs one; `find` alone makes it."""

    id: int
    collection: Collection
    token_count: int

    @property
    def first_chunk(self) -> int:
        """The lowest id that a chunk of this collection can have."""
        return self.id << SEQUENCE_BITS

    @property
    def last_chunk(self) -> int:
        """The highest id that a chunk of this collection can have."""
        return ((self.id + 1) << SEQUENCE_BITS) - 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Documents, chunks and terms that a change adds (or, negative, removes)."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0


def find(connection: apsw.Connection, tenant: str, name: str) -> Scope | None:
    """The tenant's collection of that name, if there is one."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM collections WHERE tenant = ? AND name = ?", (tenant, name)
    ).fetchone()
    return None if row is None else _scope(row)


def require(connection: apsw.Connection, tenant: str, name: str) -> Scope:
    """The tenant's collection of that name; CollectionNotFoundError where there is none."""
    scope = find(connection, tenant, name)
    if scope is None:
        raise CollectionNotFoundError(name)
    return scope


def pin(
    connection: apsw.Connection, tenant: str, name: str, space: EmbeddingSpace, endpoint: str
) -> Scope:
    """The collection to write into, created where it is absent; SpaceMismatchError."""
    scope = find(connection, tenant, name)
    if scope is not None:
        if scope.collection.space != space:
            raise SpaceMismatchError(expected=scope.collection.space, actual=space)
        connection.execute("UPDATE collections SET endpoint = ? WHERE id = ?", (endpoint, scope.id))
        return scope
    now = time.time()
    connection.execute(
        "INSERT INTO collections (tenant, name, provider, model, dimensions, prefix,"
        " endpoint_space, endpoint, created_at, updated_at) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (tenant, name, space.provider.value, space.model, space.dimensions, space.prefix,
         space.endpoint_space, endpoint, now, now),
    )  # fmt: skip
    return require(connection, tenant, name)


def count(connection: apsw.Connection, scope: Scope, change: Totals) -> None:
    """Add `change` to the collection's counts and note the time of the change."""
    connection.execute(
        "UPDATE collections SET document_count = document_count + ?, chunk_count = chunk_count + ?,"
        " token_count = token_count + ?, updated_at = max(updated_at, ?) WHERE id = ?",
        (change.documents, change.chunks, change.tokens, time.time(), scope.id),
    )


def page(connection: apsw.Connection, tenant: str, after: str, limit: int) -> list[Collection]:
    """The tenant's collections by name, those behind `after`."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM collections WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?",
        (tenant, after, limit),
    )
    return [_scope(row).collection for row in rows]


def remove(connection: apsw.Connection, scope: Scope) -> None:
    """Delete the collection with every row that belongs to it."""
    chunks = (scope.first_chunk, scope.last_chunk)
    connection.execute("DELETE FROM chunk_terms WHERE rowid BETWEEN ? AND ?", chunks)
    connection.execute("DELETE FROM vectors WHERE id BETWEEN ? AND ?", chunks)
    connection.execute("DELETE FROM chunks WHERE id BETWEEN ? AND ?", chunks)
    connection.execute("DELETE FROM attributes WHERE collection = ?", (scope.id,))
    connection.execute("DELETE FROM documents WHERE collection = ?", (scope.id,))
    connection.execute("DELETE FROM collections WHERE id = ?", (scope.id,))


def _scope(row: tuple[Any, ...]) -> Scope:
    (key, name, provider, model, dimensions, prefix, endpoint_space, endpoint,
     documents, chunks, tokens, created_at, updated_at) = row  # fmt: skip
    collection = Collection(
        name=name,
        space=EmbeddingSpace(ModelProvider(provider), model, dimensions, prefix, endpoint_space),
        endpoint=endpoint,
        document_count=documents,
        chunk_count=chunks,
        created_at=datetime.fromtimestamp(created_at, UTC),
        updated_at=datetime.fromtimestamp(updated_at, UTC),
    )
    return Scope(key, collection, tokens)
