"""The server's connections: a pool, transactions, and one connection at a time for upkeep."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self, TypeVar

import asyncpg
from asyncpg import Pool, Record

from query.store.errors import StoreUnavailableError
from query.store.postgresql import vectors
from query.store.postgresql.address import Address
from query.store.postgresql.connection import Connection
from query.store.postgresql.failures import CONFLICTS, own_errors
from query.store.postgresql.schema import SCHEMA, migrate

Result = TypeVar("Result")
Job = Callable[[Connection], Awaitable[Result]]

HEALTH_SECONDS = 2.0

_CONNECT_SECONDS = 10
_LOCK_SECONDS = 10
_CLOSE_SECONDS = 10.0
_MARGIN_SECONDS = 5
_FAREWELL_SECONDS = 2

_LOST = (asyncpg.InterfaceError, asyncpg.PostgresError, OSError)
_ATTEMPTS = 6
_LONGEST_PAUSE_SECONDS = 0.5

_SETTINGS = {
    "application_name": "cascada",
    "lock_timeout": f"{_LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    # A client that is gone stops what it asked for.
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "30",
    # A plan for one collection is no plan for another of a thousand times its size.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    # A filtered search goes on until it has found enough; the order is made exact afterwards.
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "100000",
    "hnsw.scan_mem_multiplier": "4",
}


class Database:
    """The open store. A job runs in one transaction, to its end or not at all."""

    def __init__(
        self, address: Address, pool: "Pool[Record]", settings: dict[str, str], place: str
    ) -> None:
        self._address = address
        self._pool = pool
        self._settings = settings
        self._place = place

    @classmethod
    async def open(cls, address: Address) -> Self:
        """Migrate the schema and connect; StoreUnavailableError or SchemaTooNewError."""
        seconds = address.timeout_seconds
        ours = {"statement_timeout": f"{seconds}s", **_SETTINGS}
        settings = {name: value for name, value in ours.items() if name not in address.named}
        with own_errors():
            async with _connected(address, settings) as connection:
                place = await migrate(connection)
            settings["search_path"] = f'{SCHEMA}, "{place}"'
            pool = await asyncpg.create_pool(
                address.dsn,
                timeout=_CONNECT_SECONDS,
                command_timeout=seconds + _MARGIN_SECONDS,
                server_settings=settings,
                init=lambda made: _know_vectors(made, place),
                reset=_keep,
                min_size=0,
                max_size=address.pool_size,
            )
        return cls(address, pool, settings, place)

    async def read(self, job: Job[Result]) -> Result:
        """Run `job` on a consistent snapshot."""
        with own_errors():
            async with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as made:
                return await job(made)

    async def write(self, job: Job[Result]) -> Result:
        """Run `job` as one durable transaction; an exception from it undoes everything.

        Where other writers were in the way it is run again, and so must start from nothing.
        """
        with own_errors():
            for attempt in range(_ATTEMPTS - 1):
                with suppress(*CONFLICTS):
                    async with self._transaction("BEGIN") as made:
                        return await job(made)
                pause = min(_LONGEST_PAUSE_SECONDS, 0.01 * 2**attempt)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers
            async with self._transaction("BEGIN") as made:
                return await job(made)

    async def healthy(self) -> bool:
        """Whether a query is answered in two seconds."""
        try:
            with own_errors():
                async with asyncio.timeout(HEALTH_SECONDS), self._transaction("BEGIN") as made:
                    return bool(await made.fetchval("SELECT version FROM schema_version"))
        except StoreUnavailableError:
            return False

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[Connection]:
        connection = await self._pool.acquire(timeout=self._address.timeout_seconds)
        try:
            await connection.execute(begin)
            yield connection
            await connection.execute("COMMIT")
        except BaseException:
            # A server that has fallen silent does not keep a caller who has given up.
            with suppress(*_LOST):
                await connection.execute("ROLLBACK", timeout=_FAREWELL_SECONDS)
            raise
        finally:
            with suppress(*_LOST):
                await self._pool.release(connection, timeout=_FAREWELL_SECONDS)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Connection]:
        """A connection of its own, outside of transactions and without a limit of time."""
        with own_errors():
            async with _connected(self._address, self._settings) as connection:
                await _know_vectors(connection, self._place)
                yield connection

    async def close(self) -> None:
        """Finish what has begun, then disconnect; what takes too long is cut off."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


@asynccontextmanager
async def _connected(address: Address, settings: dict[str, str]) -> AsyncIterator[Connection]:
    # Migrations and indexes take as long as they take.
    unlimited = {**settings, "statement_timeout": "0", "lock_timeout": "0"}
    connection = await asyncpg.connect(
        address.dsn, timeout=_CONNECT_SECONDS, server_settings=unlimited
    )
    try:
        yield connection
    finally:
        with suppress(*_LOST):
            await connection.close(timeout=_FAREWELL_SECONDS)


async def _know_vectors(connection: Connection, place: str) -> None:
    await connection.set_type_codec(
        "vector", schema=place, encoder=vectors.encode, decoder=vectors.decode, format="binary"
    )


async def _keep(connection: Connection) -> None:
    """Leave a connection as it is: nothing is ever set for longer than its transaction."""
