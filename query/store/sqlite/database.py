"""One SQLite file off the event loop: a writer thread and a few reader threads."""

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from query.store.errors import StoreUnavailableError
from query.store.sqlite.connection import connect, own_errors, prepare_file, transaction
from query.store.sqlite.schema import migrate
from query.store.sqlite.writer import Writer
from service_core import processors

Result = TypeVar("Result")
Job = Callable[[apsw.Connection], Result]

READERS = max(2, min(4, processors.usable()))
"""How many jobs run at once; beyond the processors, threads only fight over the interpreter."""


class _Readers:
    """Threads with a connection each. A job runs in one transaction."""

    def __init__(self, connections: list[apsw.Connection]) -> None:
        self._connections = connections
        # Last in, first out: the connection used last has its pages in memory.
        self._idle: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()
        for connection in connections:
            self._idle.put(connection)
        self._threads = ThreadPoolExecutor(len(connections), thread_name_prefix="store-reader")

    async def run(self, job: Job[Result]) -> Result:
        try:
            future = self._threads.submit(self._perform, job)
        except RuntimeError:
            raise StoreUnavailableError("The store is closed.") from None
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _perform(self, job: Job[Result]) -> Result:
        connection = self._idle.get()
        try:
            with own_errors(), transaction(connection, write=False):
                return job(connection)
        finally:
            self._idle.put(connection)


class Database:
    """The open file. Cancelling the task that waits for a job never stops a job that has begun."""

    def __init__(self, writer: Writer, readers: _Readers) -> None:
        self._writer = writer
        self._readers = readers

    @classmethod
    async def open(cls, path: Path, prepare: Job[None]) -> "Database":
        """Create or migrate the file, `prepare` it and connect.

        StoreUnavailableError or SchemaTooNewError.
        """
        return await asyncio.to_thread(cls._open, path, prepare)

    async def read(self, job: Job[Result]) -> Result:
        """Run `job` on a consistent snapshot."""
        return await self._readers.run(job)

    async def write(self, job: Job[Result]) -> Result:
        """Run `job` whole and durably; an exception from it undoes all that it did.

        It may run twice, so it must leave nothing but rows.
        """
        return await self._writer.run(job)

    async def close(self) -> None:
        """Finish what has begun, then disconnect."""
        await asyncio.to_thread(self._close)

    @classmethod
    def _open(cls, path: Path, prepare: Job[None]) -> "Database":
        connections: list[apsw.Connection] = []
        with own_errors():
            try:
                prepare_file(path)
                connections.append(connect(path))
                migrate(connections[0])
                prepare(connections[0])
                connections.extend(connect(path) for _ in range(READERS))
            except BaseException:
                for connection in connections:
                    connection.close()
                raise
        return cls(Writer(connections[0]), _Readers(connections[1:]))

    def _close(self) -> None:
        with own_errors():
            self._readers.close()
            self._writer.close()
