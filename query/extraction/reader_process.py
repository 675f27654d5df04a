"""One worker process as the service sees it: started, given a job, ended."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from query.extraction.model import Extracted, ExtractionError, MediaType, checked
from query.extraction.protocol import READY, job_line, read_answer_line

START_SECONDS = 30.0
_END_SECONDS = 5.0
_MODULE = "query.extraction.worker"
_SLICE_BYTES = 256 * 1024
_ROOT = Path(__file__).parents[2]


class NotStartedError(Exception):
    """The process can't be started on this machine now."""


class ReaderProcess:
    """A process that reads one file after another."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ends = False
        """Whether it has said that it takes no more."""

    @classmethod
    async def start(cls) -> Self:
        """Start one, without this process's environment: it holds keys. NotStartedError."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # nothing of the working folder is imported
                "-m",
                _MODULE,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},
            )
        except OSError as error:
            raise NotStartedError(type(error).__name__) from None
        self = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await self._from.readline()
        except BaseException:
            await self.kill()
            raise
        if line != READY:
            raise NotStartedError(f"exit code {await self._exit_code()}")
        return self

    @property
    def alive(self) -> bool:
        """Whether it can take a job."""
        return self._process.returncode is None and not self._ends

    async def read(self, media_type: MediaType, content: bytes) -> Extracted:
        """Read a file. ExtractionError, also where the process does not survive it.

        Whatever else is raised, a cancellation included, leaves the process unusable.
        """
        try:
            await self._send(media_type, content)
            length, self._ends = read_answer_line(await self._from.readline())
            answer = await self._from.readexactly(length)
        except (OSError, EOFError, ValueError):
            raise ExtractionError(await self._why_it_ended()) from None
        return await asyncio.to_thread(_extracted, answer)

    async def kill(self) -> None:
        """End the process, whatever it does, and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        # Its pipes are closed only once everything has been read from them.
        await self._process.communicate()

    async def _send(self, media_type: MediaType, content: bytes) -> None:
        into = self._process.stdin
        assert into is not None
        into.write(job_line(media_type, len(content)))
        for start in range(0, len(content), _SLICE_BYTES):
            into.write(content[start : start + _SLICE_BYTES])
            await into.drain()

    async def _why_it_ended(self) -> str:
        if await self._exit_code() == -signal.SIGXCPU:
            return "reading it takes too long: simplify or split it"
        return (
            "it could not be read to its end: it is damaged or too large; repair it, split it, or "
            "export it anew"
        )

    async def _exit_code(self) -> int | None:
        """How it has ended; killed, if it does not end by itself."""
        if self._from.at_eof():
            # It is ending: killed now, it could lose the exit code that says why.
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._process.wait()
        await self.kill()
        return self._process.returncode

    @property
    def _from(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout


def _extracted(answer: bytes) -> Extracted:
    found: dict[str, Any] = json.loads(answer)
    if "problem" in found:
        raise ExtractionError(found["problem"])
    return checked(
        Extracted(found["text"], found["title"], found["markdown"], tuple(found["pages"]))
    )
