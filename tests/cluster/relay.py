"""A TCP port in front of another, on which a test can make the network fall silent."""

import asyncio
from contextlib import suppress
from typing import Self

_PIECE = 65_536


class Relay:
    """Passes what comes to one address on to another, and back; silent, it does neither.

    Nothing that was sent while it was silent is lost: as in a network, it comes when the network is
    back, if who sent it has not given up.
    """

    def __init__(self, listens: tuple[str, int], target: tuple[str, int]) -> None:
        self._listens = listens
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks = set[asyncio.Task[None]]()
        self._speaks = asyncio.Event()
        self._speaks.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, *self._listens)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Fall silent; connections stay, and new ones are taken and left waiting."""
        self._speaks.clear()

    def heal(self) -> None:
        """Speak again."""
        self._speaks.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._relay(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._speaks.wait()
        back_reader, back_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back_writer))
                group.create_task(self._pass(back_reader, writer))
        except* OSError:
            pass
        finally:
            back_writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        data = b"first"
        while data:
            try:
                data = await source.read(_PIECE)
            except OSError:
                data = b""
            await self._speaks.wait()  # a hang-up doesn't come through a silent network either
            target.write(data)
            await target.drain()
        raise ConnectionError  # one side has hung up; so does the other
