"""Documents: written, replaced and removed as one unit, without transactions.

A document's row names the version of it that counts; setting it is the one step that readers see.
A new version's passages are there before that step, and those of the old one go after it:

    note the write · passages · the document's row · strike out the note · clear what is dead

What a crash leaves at any point either counts whole or is seen by nobody. Of two writers at once
the one whose row is written last wins, and each clears away what of its own or of earlier versions
has lost: a version that is not noted (any more) and does not count never will.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from query.store.milvus.catalog import Scope
from query.store.milvus.connection import Connection, Row
from query.store.milvus.journal import Journal
from query.store.milvus.keys import any_of, both, equal, literal, ordered_key
from query.store.milvus.memory import Memory
from query.store.milvus.passages import Prepared, batches, contents, rest_ids
from query.store.milvus.tables import DOCUMENTS, NO_VECTOR, Tables
from query.store.model import StoredChunk, StoredDocument

_FIELDS = ("version", "committed", "parts", "payload")
_CLEARED_AT_ONCE = 100
_KEYS_AT_ONCE = 500
_LAST = 2**63 - 1
_BEHIND_EVERY_KEY = "g"


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a document that counts."""

    key: str
    version: str
    committed: float
    """When it came to count, in seconds since 1970 by its writer's clock."""
    known_since: float
    """When this process first knew that it counts, in seconds of its monotonic clock."""
    stored: StoredDocument


class Documents:
    """The documents and passages of one generation at a time."""

    def __init__(self, connection: Connection, tables: Tables, journal: Journal) -> None:
        self._connection = connection
        self._tables = tables
        self._journal = journal
        self._seen: Memory[str, tuple[str, float]] = Memory()

    async def read(self, scope: Scope, keys: Iterable[str]) -> dict[str, Version]:
        """The versions that count of those of the documents that are there, by key."""
        wanted = [scope.generation + key for key in keys]
        if not wanted:
            return {}
        rows = await self._connection.query(DOCUMENTS, any_of("id", wanted), _FIELDS)
        return await self._versions(scope, rows)

    async def page(self, scope: Scope, after: str, limit: int) -> list[StoredDocument]:
        """The documents by id, those behind `after`."""
        expression = both(
            f"id > {literal(scope.generation + ordered_key(after))}",
            f"id < {literal(scope.generation + _BEHIND_EVERY_KEY)}",
        )
        while True:
            rows = await self._connection.query(DOCUMENTS, expression, _FIELDS, limit=limit)
            found = await self._versions(scope, rows)
            if len(found) == len(rows):
                return [each.stored for each in found.values()]

    async def put(self, scope: Scope, document: Prepared) -> bool:
        """Write or replace (True) the document.

        ValueError, before anything is changed, where another document holds one of its chunk ids.
        """
        previous, _ = await asyncio.gather(
            self._current(scope, [document.key]), self._require_own_chunks(scope, document)
        )
        version = uuid4().hex
        notes = await self._journal.begin(scope, [document.key], version)
        clearing = await self._journal.begin(scope, previous)
        table = await self._tables.chunks(scope.space.dimensions)
        whose = {"tenant": scope.tenant, "generation": scope.generation, "version": version}
        for batch in batches([row | whose | {"id": version + row["id"]} for row in document.rows]):
            await self._connection.insert(table.name, batch)
        await self._connection.upsert(DOCUMENTS, [_row(scope, document, version)])
        self._known_since(scope.generation + document.key, version)
        await self._journal.strike_out(notes)
        await self.clear_dead(scope, [document.key], counts={document.key: version})
        await self._journal.strike_out(clearing)
        return bool(previous)

    async def delete(self, scope: Scope, document_ids: Sequence[str]) -> set[str]:
        """Delete documents; the ids that were there."""
        keys = {ordered_key(each): each for each in document_ids}
        there = list(await self._current(scope, keys))
        for start in range(0, len(there), _CLEARED_AT_ONCE):
            some = there[start : start + _CLEARED_AT_ONCE]
            notes = await self._journal.begin(scope, some)
            await self._connection.delete(
                DOCUMENTS, any_of("id", (scope.generation + key for key in some))
            )
            await self.clear_dead(scope, some)
            await self._journal.strike_out(notes)
        return {keys[key] for key in there}

    async def chunks(
        self, scope: Scope, document_id: str, first: int, last: int | None
    ) -> list[StoredChunk]:
        """The document's passages of position `first` to `last`, in order."""
        key = ordered_key(document_id)
        table = await self._tables.chunks(scope.space.dimensions)
        now = await self._current(scope, [key])
        while key in now:
            expression = both(
                _of(scope, [key]),
                equal("version", now[key]),
                "part == 0",
                f"position >= {max(first, 0)}",
                f"position <= {_LAST if last is None else min(max(last, -1), _LAST)}",
            )
            found = await contents(self._connection, table, expression)
            before, now = now, await self._current(scope, [key])
            if now == before:
                return [chunk for _, (chunk, _) in sorted(found.items(), key=_by_position)]
        return []

    async def clear_dead(
        self, scope: Scope, keys: Sequence[str], counts: Mapping[str, str] | None = None
    ) -> None:
        """Delete the passages of these documents that do not count and never will.

        `counts` are the versions that the caller has made to count, its notes struck out. Versions
        are read before the notes, and the notes before the documents' rows: what was there, is not
        noted then and does not count after that, has been and gone.
        """
        counts = counts or {}
        table = await self._tables.chunks(scope.space.dimensions)
        whose = _of(scope, keys)
        unknown = both(whose, *(f"version != {literal(each)}" for each in counts.values()))
        rows, now = await asyncio.gather(
            self._connection.query(table.name, unknown, ("version",)), self._current(scope, keys)
        )
        versions = {row["version"] for row in rows}
        versions |= {version for key, version in counts.items() if now.get(key) != version}
        if not versions:
            return
        under_way = await self._journal.versions_under_way(scope, keys)
        counting = set((await self._current(scope, keys)).values())
        if dead := versions - under_way - counting:
            await self._connection.delete(table.name, both(whose, any_of("version", sorted(dead))))

    async def _current(self, scope: Scope, keys: Iterable[str]) -> dict[str, str]:
        """Which version counts of each of the documents that are there."""
        wanted = [scope.generation + key for key in keys]
        if not wanted:
            return {}
        rows = await self._connection.query(DOCUMENTS, any_of("id", wanted), ("version",))
        return {_key(scope, row): row["version"] for row in rows}

    async def _require_own_chunks(self, scope: Scope, document: Prepared) -> None:
        table = await self._tables.chunks(scope.space.dimensions)
        for start in range(0, len(document.chunk_keys), _KEYS_AT_ONCE):
            expression = both(
                equal("tenant", scope.tenant),
                equal("generation", scope.generation),
                any_of("chunk_key", document.chunk_keys[start : start + _KEYS_AT_ONCE]),
                f"document != {literal(document.key)}",
            )
            rows = await self._connection.query(
                table.name, expression, ("document", "version", "chunk_id")
            )
            counting = await self._current(scope, {row["document"] for row in rows})
            for row in rows:
                if counting.get(row["document"]) == row["version"]:
                    chunk_id = row["chunk_id"]
                    message = f"another document of the collection holds chunk {chunk_id!r}"
                    raise ValueError(message)

    async def _versions(self, scope: Scope, rows: Sequence[Row]) -> dict[str, Version]:
        """The rows as versions, without those whose further pieces are gone by now."""
        rest = [each for row in rows for each in rest_ids(row["version"], row["parts"])]
        pieces: dict[str, str] = {}
        if rest:
            table = await self._tables.chunks(scope.space.dimensions)
            further = await self._connection.query(table.name, any_of("id", rest), ("payload",))
            pieces = {row["id"]: row["payload"] for row in further}
        found = {}
        for row in rows:
            keys = rest_ids(row["version"], row["parts"])
            if all(key in pieces for key in keys):
                text = row["payload"] + "".join(pieces[key] for key in keys)
                key = _key(scope, row)
                stored = StoredDocument(**json.loads(text))
                found[key] = Version(
                    key=key,
                    version=row["version"],
                    committed=row["committed"] / 1000,
                    known_since=self._known_since(row["id"], row["version"]),
                    stored=stored,
                )
        return found

    def _known_since(self, row: str, version: str) -> float:
        seen = self._seen.get(row)
        if seen is None or seen[0] != version:
            seen = version, time.monotonic()
            self._seen.set(row, seen)
        return seen[1]


def _of(scope: Scope, keys: Iterable[str]) -> str:
    return both(
        equal("tenant", scope.tenant),
        equal("generation", scope.generation),
        any_of("document", keys),
    )


def _key(scope: Scope, row: Row) -> str:
    return str(row["id"]).removeprefix(scope.generation)


def _by_position(item: tuple[str, tuple[StoredChunk, Row]]) -> tuple[int, str]:
    return item[1][0].position, item[0]


def _row(scope: Scope, document: Prepared, version: str) -> Row:
    return {
        "id": scope.generation + document.key,
        "generation": scope.generation,
        "version": version,
        "committed": int(time.time() * 1000),
        "parts": len(document.pieces),
        "payload": document.pieces[0],
        "vector": NO_VECTOR,
    }
