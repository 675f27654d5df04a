"""What is under way: noted before it begins, so that a crash leaves nothing unknown behind.

Milvus has no transactions. A write is noted before its first passage is there, and struck out once
its document counts. Passages of a version that is neither noted nor counts are dead for good, and
whoever writes the document next clears them away. A note older than any write takes is of one that
has died. The end of a whole collection is noted in the same way.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from query.store.milvus.catalog import Scope
from query.store.milvus.connection import Connection, Row
from query.store.milvus.keys import any_of, both, equal
from query.store.milvus.spaces import fields_of, space_of
from query.store.milvus.tables import CATALOG, catalog_row

WRITE_LIMIT_SECONDS = 600.0
"""What a write takes at most, or it fails."""

STALE_SECONDS = 2 * WRITE_LIMIT_SECONDS
"""The age at which a note is of a write that has died; generous, as clocks differ."""

UNFINISHED = "unfinished"
_ENDED = "ended"
_MOST_AT_ONCE = 1000
_FIELDS = ("generation", "document", "payload")


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that has begun: a write or removal of a document, or the end of a generation."""

    id: str
    scope: Scope
    document: str = ""
    """The document's key; "" for a whole generation."""


class Journal:
    """The notes of all tenants."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self, scope: Scope, documents: Iterable[str], version: str = "") -> list[Note]:
        """Note that this version of each document is being written, or ("") an old one cleared."""
        notes = [Note(uuid4().hex, scope, document) for document in documents]
        if notes:
            rows = [_row(note, UNFINISHED, version) for note in notes]
            await self._connection.insert(CATALOG, rows)
        return notes

    async def begin_end(self, scope: Scope) -> Note:
        """Note that a generation is given up, and has to be cleared away once it is."""
        note = Note(uuid4().hex, scope)
        await self._connection.insert(CATALOG, [_row(note, _ENDED)])
        return note

    async def strike_out(self, notes: Sequence[Note]) -> None:
        """Forget what is done."""
        if notes:
            await self._connection.delete(CATALOG, any_of("id", (note.id for note in notes)))

    async def strike_out_all(self, scope: Scope) -> None:
        """Forget whatever was under way in a generation that is no more."""
        await self._connection.delete(
            CATALOG, both(equal("kind", UNFINISHED), equal("generation", scope.generation))
        )

    async def versions_under_way(self, scope: Scope, documents: Iterable[str]) -> set[str]:
        """The versions of these documents that living writers are at."""
        expression = both(
            equal("kind", UNFINISHED),
            equal("generation", scope.generation),
            any_of("document", documents),
            f"started > {_stale_before()}",
        )
        return {
            row["version"]
            for row in await self._connection.query(CATALOG, expression, ("version",))
        }

    async def left_behind(self) -> list[Note]:
        """Writes that have died, and generations that may have to be cleared away."""
        expression = (
            f"({both(equal('kind', UNFINISHED), f'started <= {_stale_before()}')})"
            f" or {equal('kind', _ENDED)}"
        )
        rows = await self._connection.query(CATALOG, expression, _FIELDS, limit=_MOST_AT_ONCE)
        return [_note(row) for row in rows]


def _stale_before() -> int:
    return int((time.time() - STALE_SECONDS) * 1000)


def _row(note: Note, kind: str, version: str = "") -> Row:
    payload = {"tenant": note.scope.tenant, "space": fields_of(note.scope.space)}
    return catalog_row(
        note.id,
        kind,
        generation=note.scope.generation,
        document=note.document,
        version=version,
        started=int(time.time() * 1000),
        payload=payload,
    )


def _note(row: Row) -> Note:
    payload = json.loads(row["payload"])
    scope = Scope(payload["tenant"], row["generation"], space_of(payload["space"]))
    return Note(row["id"], scope, row["document"])
