"""The way from the engine's worker thread to the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

from query.providers.local_errors import (
    LocalContextError,
    LocalEngineError,
    LocalGenerationError,
    LocalRequestError,
)

_BRIDGE_CHUNKS = 64


class Bridge:
    """Hands chunks from the worker thread to the loop; a slow reader holds the worker back."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._queue: asyncio.Queue[dict[str, Any] | LocalEngineError | None] = asyncio.Queue()
        self._room = threading.Semaphore(_BRIDGE_CHUNKS)
        self._stopped = threading.Event()

    def offer(self, chunk: dict[str, Any]) -> bool:
        """Called by the engine for every chunk; True stops it."""
        if "prompt_progress" in chunk:
            return self._stopped.is_set()
        while not self._room.acquire(timeout=1):
            if self.loop.is_closed():
                return True
        if self._stopped.is_set():
            return True
        return not self.send(_failure(chunk["error"]) if "error" in chunk else chunk)

    def cancel(self) -> None:
        """Stop the engine at its next call and end the wait for room."""
        self._stopped.set()
        self._room.release()

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """What was offered, up to the end or to an error, which is raised."""
        while (item := await self._queue.get()) is not None:
            if isinstance(item, LocalEngineError):
                raise item
            self._room.release()
            yield item

    def send(self, item: dict[str, Any] | LocalEngineError | None) -> bool:
        """Queue a chunk, an error or, with None, the end. False where nobody waits any more."""
        try:
            self.loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the loop is closed
            return False
        return True


def _failure(error: Mapping[str, Any]) -> LocalEngineError:
    if error.get("type") == "exceed_context_size_error":
        return LocalContextError(int(error["n_prompt_tokens"]), int(error["n_ctx"]))
    if str(error.get("code")).startswith("4"):
        return LocalRequestError("The local model does not take this request.")
    return LocalGenerationError("The local model failed while it answered.")
