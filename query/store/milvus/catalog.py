"""Collections by tenant and name, and the one place where a name becomes a scope.

A collection's name has one row for good. It says which generation of it is there, if one is; a
generation's key follows from the name, the space and how often the name was given up before, so two
that create a collection at once create the same. Milvus can neither lock nor compare and set:
whoever writes documents looks the name up once more afterwards, and begins anew where it has come
to mean another generation.
"""

import asyncio
import json
import time
from dataclasses import dataclass, replace

from config_core.space import EmbeddingSpace
from query.store.errors import CollectionNotFoundError, SpaceMismatchError
from query.store.milvus.connection import Connection, Row
from query.store.milvus.keys import any_of, both, equal, literal, ordered_key, short_key, tenant_key
from query.store.milvus.spaces import fields_of, space_of
from query.store.milvus.tables import CATALOG, catalog_row
from query.store.model import STAGED

SERVED = "collection"
BESIDE = "staged"

_FIELDS = ("kind", "generation", "payload")
_BEHIND_EVERY_KEY = "g"
_HOLD_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Scope:
    """One generation of one tenant's collection. Whatever touches documents needs one."""

    tenant: str
    """The tenant's key."""
    generation: str
    space: EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Entry:
    """A collection's name: the generation that it means, if it means one."""

    tenant: str
    name: str
    past: int = 0
    """How many generations the name has given up."""
    generation: str = ""
    space: EmbeddingSpace | None = None
    created_at: float = 0.0
    held_until: float = 0.0
    """Nobody may write to it before, in seconds since 1970; see `promotion`."""

    @property
    def scope(self) -> Scope | None:
        """What the name stands for; None where there is no collection."""
        if self.space is None:
            return None
        return Scope(self.tenant, self.generation, self.space)

    def given_up(self) -> "Entry":
        """The same name without a collection."""
        return Entry(self.tenant, self.name, self.past + 1)

    def begun(self, space: EmbeddingSpace) -> "Entry":
        """The same name with a new, empty collection."""
        parts = [self.tenant, self.name, self.past, *fields_of(space)]
        generation = short_key(json.dumps(parts))
        return replace(self, generation=generation, space=space, created_at=time.time())


class Catalog:
    """The names of all collections. Every look-up sees every acknowledged write."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, tenant: str, name: str) -> Entry:
        """What the tenant's name means; an entry without a generation where it means nothing."""
        empty = Entry(tenant_key(tenant), name)
        rows = await self._connection.query(CATALOG, equal("id", _key(empty)), _FIELDS)
        return _entry(rows[0]) if rows else empty

    async def require(self, tenant: str, name: str) -> Scope:
        """The collection of that name; CollectionNotFoundError."""
        scope = (await self.find(tenant, name)).scope
        if scope is None:
            raise CollectionNotFoundError(name)
        return scope

    async def unheld(self, tenant: str, name: str) -> Entry:
        """What the name means, once nobody holds it."""
        entry = await self.find(tenant, name)
        while entry.held_until > time.time():
            await asyncio.sleep(_HOLD_POLL_SECONDS)
            entry = await self.find(tenant, name)
        return entry

    async def unheld_scope(self, tenant: str, name: str) -> Scope:
        """The collection of that name, once nobody holds it; CollectionNotFoundError."""
        scope = (await self.unheld(tenant, name)).scope
        if scope is None:
            raise CollectionNotFoundError(name)
        return scope

    async def pin(self, tenant: str, name: str, space: EmbeddingSpace) -> Scope:
        """The collection to write into, created where it is absent; SpaceMismatchError."""
        entry = await self.unheld(tenant, name)
        if entry.space is None:
            entry = entry.begun(space)
            await self.write(entry)
        _require_space(entry, space)
        return Scope(entry.tenant, entry.generation, space)

    async def check(self, tenant: str, name: str, space: EmbeddingSpace) -> None:
        """Raise SpaceMismatchError where the name has a collection in another space."""
        _require_space(await self.find(tenant, name), space)

    async def write(self, *entries: Entry) -> None:
        """Set what names mean, all in one step."""
        await self._connection.upsert(CATALOG, [_row(each) for each in entries])

    async def is_alive(self, generation: str) -> bool:
        """Whether any name means this generation."""
        expression = both(equal("generation", generation), any_of("kind", (SERVED, BESIDE)))
        return bool(await self._connection.query(CATALOG, expression))

    async def page(self, tenant: str, after: str, limit: int) -> list[Entry]:
        """The tenant's collections by name, those behind `after`, without the staged ones."""
        key = tenant_key(tenant)
        expression = both(
            equal("kind", SERVED),
            f"id > {literal(key + ordered_key(after))}",
            f"id < {literal(key + _BEHIND_EVERY_KEY)}",
            f"generation != {literal('')}",
        )
        rows = await self._connection.query(CATALOG, expression, _FIELDS, limit=limit)
        return [_entry(row) for row in rows]


def _require_space(entry: Entry, space: EmbeddingSpace) -> None:
    if entry.space is not None and entry.space != space:
        raise SpaceMismatchError(expected=entry.space, actual=space)


def _key(entry: Entry) -> str:
    return entry.tenant + ordered_key(entry.name)


def _row(entry: Entry) -> Row:
    payload = {
        "tenant": entry.tenant,
        "name": entry.name,
        "past": entry.past,
        "space": None if entry.space is None else fields_of(entry.space),
        "created_at": entry.created_at,
        "held_until": entry.held_until,
    }
    kind = BESIDE if entry.name.endswith(STAGED) else SERVED
    return catalog_row(_key(entry), kind, generation=entry.generation, payload=payload)


def _entry(row: Row) -> Entry:
    payload = json.loads(row["payload"])
    space = payload.pop("space")
    return Entry(
        **payload,
        generation=row["generation"],
        space=None if space is None else space_of(space),
    )
