"""Waiting for what another process does, for a bounded time."""

import asyncio
from collections.abc import Callable

_SECONDS = 15.0
_PAUSE = 0.02


async def until(holds: Callable[[], bool], what: str) -> None:
    """Return when `holds` does; TimeoutError, naming `what`, if it never does."""
    try:
        async with asyncio.timeout(_SECONDS):
            while not holds():  # noqa: ASYNC110 # nothing tells of it but a look
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        raise TimeoutError(f"waited in vain for: {what}") from None
