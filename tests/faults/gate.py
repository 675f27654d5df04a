"""An address that can be there or not: it passes connections on, or refuses and breaks them."""

import asyncio
from collections.abc import Awaitable
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536


class Gate:
    """A door in front of a server; while it is shut, its port refuses connections."""

    def __init__(self, url: str) -> None:
        """`url` is of the server behind it."""
        self._behind = urlsplit(url)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    @property
    def url(self) -> str:
        """The URL of the server, through the gate."""
        return urlunsplit(self._behind._replace(netloc=f"127.0.0.1:{self._port}"))

    async def open(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Break every connection and refuse new ones."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        await _turns()  # those that the loop has accepted become known
        for writer in list(self._open):
            writer.transport.abort()
        for task in list(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        await server.wait_closed()
        await _turns()  # what was aborted closes its socket

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        writers = {writer}
        self._open.add(writer)
        try:
            there = await asyncio.open_connection(self._behind.hostname, self._behind.port)
            writers.add(there[1])
            self._open.add(there[1])
            await _first(_copy(reader, there[1]), _copy(there[0], writer))
        finally:
            self._passing.discard(task)
            self._open -= writers
            for one in writers:
                one.close()


async def _turns(count: int = 5) -> None:
    """Give the loop some turns for what it has begun."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return


async def _first(*copies: Awaitable[None]) -> None:
    """Return when either direction has ended; the other ends with it."""
    tasks = [asyncio.ensure_future(copy) for copy in copies]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
