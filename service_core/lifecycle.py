"""Runs servers until a signal, then lets them finish: the one way in which a process of ours ends.

    signal → health NOT_SERVING → settle → drain, server by server → close resources → return

What still runs shortly before the grace is over ends with UNAVAILABLE, and so its caller knows that
it may try again. grpc.aio does none of this by itself: without a handler SIGTERM ends the process
on the spot. SIGHUP has the configuration read again.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import structlog

from service_core.server import GrpcServer

_log = structlog.stdlib.get_logger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

LAST_SECONDS = 1.0
"""How long before the end of the grace calls are ended, for their callers to hear of it; a tenth
of a grace that is shorter than ten times that."""

Start = Callable[[AsyncExitStack], Awaitable[Sequence[GrpcServer]]]
"""Builds and starts servers, those that callers reach first in front; what has to be closed after
them goes to the stack. A server that fails to start is stopped by whoever started it."""

Reload = Callable[[], Awaitable[None]]
"""Reads the configuration again."""


async def _nothing() -> None:
    """Stands for a reload where there is nothing to read."""


def run(
    start: Start, *, grace: float = 30.0, settle: float = 0.0, reload: Reload = _nothing
) -> None:
    """Runs servers in an event loop of their own, uvloop's where it is installed.

    Args:
        start: Builds and starts the servers.
        grace: Seconds that running requests get to finish, for all servers together.
        settle: Seconds between NOT_SERVING and the end of listening, for load balancers to notice.
        reload: What SIGHUP does; what it raises is logged and ends nothing.

    Raises:
        BindError: And whatever else `start` raises, after the resources were closed.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(start, grace=grace, settle=settle, reload=reload))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Gives uvloop's factory, or None for asyncio's own loop where uvloop is not installed."""
    try:
        import uvloop  # noqa: PLC0415 # it does not exist for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def serve(
    start: Start, *, grace: float = 30.0, settle: float = 0.0, reload: Reload = _nothing
) -> None:
    """Does the work of `run` in a loop that runs already, in the main thread.

    SIGTERM and SIGINT drain; the second of them ends the process at once. SIGHUP reloads.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    starting = asyncio.timeout(None)

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _log.info("stopping", signal=number.name, settle_seconds=settle, grace_seconds=grace)
        stop.set()
        if servers is None:
            starting.reschedule(loop.time())

    servers: Sequence[GrpcServer] | None = None
    reloads = _Reloads(reload)
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGHUP, reloads.begin)
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
        for number in (*_SIGNALS, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _drain(servers: Sequence[GrpcServer], *, grace: float, settle: float) -> None:
    for server in servers:
        await server.refuse()
    await asyncio.sleep(settle)
    loop = asyncio.get_running_loop()
    end = loop.time() + grace
    ending = loop.call_at(end - min(LAST_SECONDS, grace / 10), _end_calls, servers)
    # One after the other: a request at the first may still need those behind it.
    for server in servers:
        await server.stop(max(0.0, end - loop.time()))
    ending.cancel()


def _end_calls(servers: Sequence[GrpcServer]) -> None:
    for server in servers:
        server.end_calls()


class _Reloads:
    """Reads the configuration again, once more for whatever comes while it does."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def begin(self) -> None:
        """Begin, unless it is being read: then again afterwards."""
        if self._task is not None:
            self._again = True
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name="reload")
        self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        try:
            await self._reload()
        except Exception as error:  # noqa: BLE001 # no configuration ends the process
            _log.error("reload failed", error=type(error).__name__)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._task = None
        if self._again:
            self._again = False
            self.begin()
