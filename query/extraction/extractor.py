"""Reads files of every kind: texts here, HTML and PDF in processes that can be killed.

A process that is killed, or has died, is replaced with the next file.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from config_core.errors import OverloadedError
from query.errors import UnusableDocumentError
from query.extraction.model import Extracted, ExtractionError, MediaType
from query.extraction.reader_process import NotStartedError, ReaderProcess
from query.extraction.text import read_markdown, read_plain

PROCESSES = 2
SECONDS = 60.0
"""The longest that a file is read, waiting for a processor included."""

_log = structlog.stdlib.get_logger(__name__)


class Extractor:
    """Reads files. Its processes start with the first file that needs one."""

    def __init__(self, processes: int = PROCESSES, seconds: float = SECONDS) -> None:
        self._places = asyncio.Semaphore(processes)
        self._seconds = seconds
        self._idle: list[ReaderProcess] = []

    async def extract(self, media_type: MediaType, content: bytes) -> Extracted:
        """The text of a file; UnusableDocumentError, OverloadedError."""
        try:
            if media_type is MediaType.PLAIN:
                return await asyncio.to_thread(read_plain, content)
            if media_type is MediaType.MARKDOWN:
                return await asyncio.to_thread(read_markdown, content)
            async with self._process() as process, asyncio.timeout(self._seconds):
                return await process.read(media_type, content)
        except ExtractionError as error:
            raise UnusableDocumentError(str(error)) from None
        except TimeoutError:
            raise UnusableDocumentError(
                f"reading it takes longer than {self._seconds:g} s: simplify or split it"
            ) from None

    async def aclose(self) -> None:
        """End the processes. No file may be on its way."""
        while self._idle:
            await self._idle.pop().kill()

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[ReaderProcess]:
        async with self._places:
            process = await self._idle_or_new()
            usable = False
            try:
                yield process
                usable = True
            except ExtractionError:
                usable = True
                raise
            finally:
                if usable and process.alive:
                    self._idle.append(process)
                else:
                    await process.kill()

    async def _idle_or_new(self) -> ReaderProcess:
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            await process.kill()
        try:
            return await ReaderProcess.start()
        except (NotStartedError, TimeoutError) as error:
            _log.warning("reader of documents did not start", why=repr(error))
            raise OverloadedError(
                "The service has no room to read the document now: try again later."
            ) from None
