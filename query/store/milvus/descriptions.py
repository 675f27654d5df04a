"""Collections as they are described: how much they hold, and what was last done to them."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from query.store.milvus.catalog import Entry, Scope
from query.store.milvus.connection import Connection
from query.store.milvus.keys import any_of, both, equal
from query.store.milvus.tables import CATALOG, DOCUMENTS, Tables, catalog_row
from query.store.model import Collection

TOUCHED = "touched"
_COUNTED_AT_ONCE = 8
_TOUCH_SECONDS = 1.0
_REMEMBERED = 10_000


class Descriptions:
    """Counts rows; remembers, beside each generation, when and through what it was written."""

    def __init__(self, connection: Connection, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables
        self._touched: dict[str, tuple[str, float]] = {}
        self._counting = asyncio.Semaphore(_COUNTED_AT_ONCE)

    async def touch(self, scope: Scope, endpoint: str | None = None) -> None:
        """Note that the generation was changed now, through this endpoint (None: as before).

        The time is kept to the second: many writes at once note it once.
        """
        last, at = self._touched.get(scope.generation, ("", 0.0))
        now = time.time()
        if endpoint in (None, last) and now - at < _TOUCH_SECONDS:
            return
        if endpoint is None:
            endpoint, _ = (await self._touches([scope.generation])).get(scope.generation, ("", 0.0))
        key, generation = TOUCHED + scope.generation, scope.generation
        row = catalog_row(key, TOUCHED, generation=generation, payload=[endpoint, now])
        await self._connection.upsert(CATALOG, [row])
        if len(self._touched) >= _REMEMBERED:
            self._touched.clear()
        self._touched[scope.generation] = (endpoint, now)

    async def describe(self, entries: Sequence[Entry]) -> list[Collection]:
        """The collections that these names stand for, in the same order."""
        scopes = [scope for entry in entries if (scope := entry.scope) is not None]
        touches, counts = await asyncio.gather(
            self._touches([scope.generation for scope in scopes]),
            asyncio.gather(*map(self._count, scopes)),
        )
        found = []
        present = (entry for entry in entries if entry.scope is not None)
        for entry, scope, (documents, chunks) in zip(present, scopes, counts, strict=True):
            endpoint, updated_at = touches.get(scope.generation, ("", entry.created_at))
            found.append(
                Collection(
                    name=entry.name,
                    space=scope.space,
                    endpoint=endpoint,
                    document_count=documents,
                    chunk_count=chunks,
                    created_at=datetime.fromtimestamp(entry.created_at, UTC),
                    updated_at=datetime.fromtimestamp(max(updated_at, entry.created_at), UTC),
                )
            )
        return found

    async def _count(self, scope: Scope) -> tuple[int, int]:
        table = await self._tables.chunks(scope.space.dimensions)
        of_generation = equal("generation", scope.generation)
        async with self._counting:
            documents, chunks = await asyncio.gather(
                self._connection.count(DOCUMENTS, of_generation),
                self._connection.count(
                    table.name, both(equal("tenant", scope.tenant), of_generation, "part == 0")
                ),
            )
        return documents, chunks

    async def _touches(self, generations: Sequence[str]) -> dict[str, tuple[str, float]]:
        if not generations:
            return {}
        expression = any_of("id", (TOUCHED + generation for generation in generations))
        rows = await self._connection.query(CATALOG, expression, ("generation", "payload"))
        return {row["generation"]: tuple(json.loads(row["payload"])) for row in rows}
