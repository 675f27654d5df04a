"""What is done behind the callers' backs: indexes built, and the rows of what is gone deleted.

Every process looks after what it writes, and once at its start after everything, so that nothing
stays undone where a process died. Only one at a time works on a store.
"""

import asyncio
import time
from contextlib import suppress

import structlog

from query.store.errors import StoreError
from query.store.postgresql import documents, vector_index
from query.store.postgresql.connection import Connection
from query.store.postgresql.database import Database

_LOCK = 0x_CA5C_ADA1
_LONGEST_PAUSE_SECONDS = 600.0
_DELETED_AT_ONCE = 500

# A collection that grew by more than this share since the last look is still being loaded, and
# loading into an index is many times slower than building it afterwards.
_CALM_GROWTH = 0.05

# An index is measured again, or tried again, once the collection has this many times the chunks.
_OUTGROWN = 2

_DUE = """
    SELECT collections.id, dimensions, tally.chunks FROM collections
    CROSS JOIN LATERAL (
        SELECT sum(chunks)::bigint AS chunks FROM tallies WHERE collection = collections.id
    ) AS tally
    LEFT JOIN vector_indexes ON vector_indexes.collection = collections.id
    WHERE tally.chunks >= greatest($1, vector_indexes.chunks * $2) AND dimensions <= $3
        AND ($4::integer[] IS NULL OR collections.id = ANY ($4))
"""

_log = structlog.stdlib.get_logger(__name__)


class Upkeep:
    """One task that looks every `pause_seconds` at what was written, and at once at deletions."""

    def __init__(
        self, database: Database, *, hnsw_from: int, memory_megabytes: int, pause_seconds: float
    ) -> None:
        self._database = database
        self._hnsw_from = hnsw_from
        self._memory_megabytes = memory_megabytes
        self._pause_seconds = pause_seconds
        self._written: set[int] | None = None
        """The collections to look at; None for all."""
        self._seen: dict[int, int] = {}
        """The chunks that a growing collection had at the last look."""
        self._deletions_due = True
        self._woken = asyncio.Event()
        self._woken.set()
        self._task = asyncio.create_task(self._run(), name="store-upkeep")

    def wrote(self, collection: int) -> None:
        """Look at this collection before long."""
        if self._written is not None:
            self._written.add(collection)

    def discarded(self) -> None:
        """Delete the rows of what was discarded now."""
        self._deletions_due = True
        self._woken.set()

    async def close(self) -> None:
        """Stop, leaving to another start what is not done."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        pause = self._pause_seconds
        while True:
            woken = await self._woken_within(pause)
            try:
                if self._deletions_due:
                    await self._delete_discarded()
                if not woken:
                    await self._build_due()
                pause = self._pause_seconds
            except StoreError as error:
                _log.warning("store.upkeep_failed", problem=str(error))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _woken_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _build_due(self) -> None:
        written, self._written = self._written, set()
        if written is not None and not written:
            return
        try:
            due = await self._due(written)
            calm = {
                key: row
                for key, row in due.items()
                if row[1] <= self._seen.get(key, 0) * (1 + _CALM_GROWTH)
            }
            self._seen = {key: chunks for key, (_, chunks) in due.items()}
            done = await self._build(calm) if calm else set()
        except BaseException:
            self._written = None
            raise
        self._written |= due.keys() - done

    async def _due(self, written: set[int] | None) -> dict[int, tuple[int, int]]:
        """Dimensions and chunks of the collections that need an index, or another look at it."""
        rows = await self._database.read(
            lambda connection: connection.fetch(
                _DUE,
                *(self._hnsw_from, _OUTGROWN, vector_index.MAX_DIMENSIONS),
                None if written is None else [*written],
            )
        )
        return {row["id"]: (row["dimensions"], row["chunks"]) for row in rows}

    async def _build(self, calm: dict[int, tuple[int, int]]) -> set[int]:
        done = set[int]()
        async with self._database.alone() as connection:
            if await _is_ours(connection):
                for collection, (dimensions, chunks) in calm.items():
                    await self._build_one(connection, collection, dimensions, chunks)
                    done.add(collection)
        return done

    async def _build_one(
        self, connection: Connection, collection: int, dimensions: int, chunks: int
    ) -> None:
        began = time.monotonic()
        valid = await vector_index.is_valid(connection, collection)
        if valid is False:
            await vector_index.drop(connection, collection)  # of a build that was cut off
        if not valid:
            # What was loaded is made quick to read as well.
            await connection.execute("VACUUM (ANALYZE) documents, attributes, chunks, vectors")
            await connection.execute("VACUUM (ANALYZE) postings")
            await vector_index.build(connection, collection, dimensions, self._memory_megabytes)
        ef_search = await vector_index.measured(connection, collection)
        await connection.execute(
            "INSERT INTO vector_indexes VALUES ($1, $2, $3) ON CONFLICT (collection)"
            " DO UPDATE SET chunks = $2, ef_search = $3",
            *(collection, chunks, ef_search),
        )
        if ef_search is None:
            await vector_index.drop(connection, collection)
        _log.info(
            "store.index_ready" if ef_search else "store.index_useless",
            collection=collection,
            chunks=chunks,
            ef_search=ef_search,
            seconds=round(time.monotonic() - began, 1),
        )

    async def _delete_discarded(self) -> None:
        self._deletions_due = False
        finished = False
        try:
            rows = await self._database.read(
                lambda connection: connection.fetch("SELECT collection FROM discarded")
            )
            if not rows:
                finished = True
                return
            async with self._database.alone() as connection:
                if await _is_ours(connection):
                    for row in rows:
                        await _delete(connection, row["collection"])
                    finished = True
        finally:
            self._deletions_due |= not finished


async def _is_ours(connection: Connection) -> bool:
    """Whether no other process works; the lock ends with the connection."""
    # Waiting for it would keep an old snapshot, for which the other's index would wait in turn.
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK))


async def _delete(connection: Connection, collection: int) -> None:
    """Delete the rows of a collection that is gone, a few at a time."""
    while True:
        async with connection.transaction():
            rows = await connection.fetch(
                "SELECT id FROM documents WHERE collection = $1 LIMIT $2",
                *(collection, _DELETED_AT_ONCE),
            )
            await documents.delete(connection, collection, [row["id"] for row in rows])
        if not rows:
            break
    await vector_index.drop(connection, collection)
    async with connection.transaction():
        await connection.execute("DELETE FROM vector_indexes WHERE collection = $1", collection)
        await connection.execute("DELETE FROM discarded WHERE collection = $1", collection)
