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
from query.store.model import STAGED, Collection
from query.store.sqlite.schema import SEQUENCE_BITS

_COLUMNS = (
    "id, name, provider, model, dimensions, prefix, endpoint_space, endpoint, "
    "document_count, chunk_count, token_count, created_at, updated_at"
)

_KEYED = ("chunks", "places", "vector_blocks", "vector_pieces", "code_blocks", "code_pieces")


@dataclass(frozen=True, slots=True)
class Scope:
    """One collection of one tenant. Whatever touches documents needs one, and `find` makes it."""

    id: int
    collection: Collection
    token_count: int

    @property
    def dimensions(self) -> int:
        """Those of the collection's vectors."""
        return self.collection.space.dimensions

    @property
    def first_key(self) -> int:
        """The lowest key that a chunk or block of this collection can have."""
        return self.id << SEQUENCE_BITS

    @property
    def last_key(self) -> int:
        """The highest key that a chunk or block of this collection can have."""
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
    """The tenant's collections by name, those behind `after`, without the staged ones."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM collections WHERE tenant = ? AND name > ? AND"
        " substr(name, ?) <> ? ORDER BY name LIMIT ?",
        (tenant, after, -len(STAGED), STAGED, limit),
    )
    return [_scope(row).collection for row in rows]


def promote(connection: apsw.Connection, old: Scope, new: Scope) -> bool:
    """Put `new` in the place of `old`; False where their documents differ."""
    documents = "SELECT document_id, content_hash FROM documents WHERE collection = ?"
    for pair in ((old.id, new.id), (new.id, old.id)):
        if connection.execute(f"{documents} EXCEPT {documents}", pair).fetchone():
            return False
    remove(connection, old)
    connection.execute(
        "UPDATE collections SET name = ?, created_at = ?, updated_at = ? WHERE id = ?",
        (old.collection.name, old.collection.created_at.timestamp(), time.time(), new.id),
    )
    return True


def uncoded(connection: apsw.Connection, approximate_from: int) -> list[Scope]:
    """The collections, whoever's they are, that are large and have no codes yet."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM collections WHERE chunk_count > 0"
        " AND 4 * dimensions * chunk_count >= ? AND id NOT IN (SELECT collection FROM centres)",
        (approximate_from,),
    )
    return [_scope(row) for row in rows]


def remove(connection: apsw.Connection, scope: Scope) -> None:
    """Delete the collection with every row that belongs to it."""
    keys = (scope.first_key, scope.last_key)
    connection.execute("DELETE FROM chunk_terms WHERE rowid BETWEEN ? AND ?", keys)
    for table in _KEYED:
        connection.execute(f"DELETE FROM {table} WHERE id BETWEEN ? AND ?", keys)
    for table in ("attributes", "documents", "centres"):
        connection.execute(f"DELETE FROM {table} WHERE collection = ?", (scope.id,))
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
