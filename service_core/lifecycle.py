"""Runs servers until a signal, then lets them finish: the one way in which a process of ours ends.

    signal → health NOT_SERVING → settle → drain, server by server → close resources → return

grpc.aio does none of this by itself: without a handler SIGTERM ends the process on the spot.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import structlog

from service_core.server import GrpcServer

_log = structlog.stdlib.get_logger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Start = Callable[[AsyncExitStack], Awaitable[Sequence[GrpcServer]]]
"""Builds and starts servers, those that callers reach first in front; what has to be closed after
them goes to the stack. A server that fails to start is stopped by whoever started it."""


def run(start: Start, *, grace: float = 30.0, settle: float = 0.0) -> None:
    """Runs servers in an event loop of their own, uvloop's where it is installed.

    Args:
        start: Builds and starts the servers.
        grace: Seconds that running requests get to finish, for all servers together.
        settle: Seconds between NOT_SERVING and the end of listening, for load balancers to notice.

    Raises:
        BindError: And whatever else `start` raises, after the resources were closed.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(start, grace=grace, settle=settle))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Gives uvloop's factory, or None for asyncio's own loop where uvloop is not installed."""
    try:
        import uvloop  # noqa: PLC0415 # it does not exist for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def serve(start: Start, *, grace: float = 30.0, settle: float = 0.0) -> None:
    """Does the work of `run` in a loop that runs already, in the main thread.

    SIGTERM and SIGINT drain; the second of them ends the process at once.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    starting = asyncio.timeout(None)

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _log.info("stopping", signal=number.name, grace_seconds=grace)
        stop.set()
        if servers is None:
            starting.reschedule(loop.time())

    servers: Sequence[GrpcServer] | None = None
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        async with AsyncExitStack() as resources:
            try:
                async with starting:
                    servers = await start(resources)
            except TimeoutError:
                if not stop.is_set():
                    raise
                return
            await stop.wait()
            await _drain(servers, grace=grace, settle=settle)
        _log.info("stopped")
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _drain(servers: Sequence[GrpcServer], *, grace: float, settle: float) -> None:
    for server in servers:
        await server.refuse()
    await asyncio.sleep(settle)
    end = asyncio.get_running_loop().time() + grace
    # One after the other: a request at the first may still need those behind it.
    for server in servers:
        await server.stop(max(0.0, end - asyncio.get_running_loop().time()))
