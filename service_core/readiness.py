"""When a server says SERVING: at once, or when the model that it needs by default is loaded."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import structlog

from service_core.server import GrpcServer

_log = structlog.stdlib.get_logger(__name__)


async def serve_when_loaded(
    server: GrpcServer, load: Callable[[], Awaitable[None]] | None, stack: AsyncExitStack
) -> None:
    """Say SERVING once `load` has succeeded, in the background; without a `load`, at once.

    Calls are answered in the meantime; those that need the model wait for it. A model that can't be
    loaded leaves the server NOT_SERVING, with the reason in the log.
    """
    if load is None:
        await server.set_serving()
        return
    task = asyncio.create_task(_load(server, load), name="model-load")
    stack.push_async_callback(_settled, task)


async def _load(server: GrpcServer, load: Callable[[], Awaitable[None]]) -> None:
    try:
        await load()
    except Exception as error:  # noqa: BLE001 # whatever it is, the operator has to read it
        _log.error("the local model can't be loaded, the service stays NOT_SERVING", why=str(error))
        return
    await server.set_serving()


async def _settled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
