"""Several processes that answer on the same ports, and the one that watches over them.

    supervisor ── starts, replaces, passes signals on ──▶ workers: each a whole server of its own

The kernel spreads connections over the workers. A worker is a new program, never a fork: gRPC does
not survive one.
"""

import asyncio
import json
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from service_core.worker import VARIABLE

_log = structlog.stdlib.get_logger(__name__)

FAILURES = 5
"""How often in a row no worker may come to serve, before the supervisor gives up."""
STEADY_SECONDS = 10.0
"""How long a worker has to serve for its end not to count as a failure."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0


class WorkersError(Exception):
    """The workers can't start. The message is the first one's, for the operator."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(slots=True)
class _Running:
    """A worker's process and what it has told."""

    process: asyncio.subprocess.Process
    serving_since: float | None = None
    metrics_port: int | None = None
    failure: tuple[str, int] | None = field(default=None)


class Supervisor:
    """Keeps a number of workers running until it is told to stop."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], count: int, *, seconds: float
    ) -> None:
        """Nothing runs yet.

        Args:
            command: What each worker runs.
            environ: Its environment.
            count: How many there are.
            seconds: How long they have to end by themselves.
        """
        self._command = command
        self._environ = environ
        self._seconds = seconds
        self._running: dict[int, _Running | None] = dict.fromkeys(range(count))
        self._stop = asyncio.Event()
        self._all_serving = asyncio.Event()
        self.replaced = 0
        """Workers that took another's place."""

    def metrics_ports(self) -> dict[int, int]:
        """Where the workers that serve have their metrics."""
        return {
            number: worker.metrics_port
            for number, worker in self._running.items()
            if worker is not None and worker.metrics_port is not None
        }

    async def serving(self) -> None:
        """Wait until all workers have served at once."""
        await self._all_serving.wait()

    async def run(self) -> bool:
        """Run until SIGTERM or SIGINT; whether all workers have ended well.

        Raises:
            WorkersError: They can't start.
        """
        loop = asyncio.get_running_loop()
        stopping = (signal.SIGTERM, signal.SIGINT)
        for number in stopping:
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        keepers = [asyncio.create_task(self._keep(number)) for number in self._running]
        try:
            return all(await asyncio.gather(*keepers))
        finally:
            for number in (*stopping, signal.SIGHUP):
                loop.remove_signal_handler(number)
            for keeper in keepers:
                keeper.cancel()
            await asyncio.wait(keepers)

    def _on_stop(self) -> None:
        """Have the workers drain; a second time, have them end at once."""
        self._stop.set()
        self._pass_on(signal.SIGTERM)

    def _on_reload(self) -> None:
        """Those that start read everything anyway."""
        self._pass_on(signal.SIGHUP, only_serving=True)

    def _pass_on(self, number: signal.Signals, *, only_serving: bool = False) -> None:
        for worker in self._running.values():
            if worker is None or worker.process.returncode is not None:
                continue
            if worker.serving_since is not None or not only_serving:
                worker.process.send_signal(number)

    async def _keep(self, number: int) -> bool:
        """Have worker `number` run until the stop; whether the last one ended well."""
        failures = 0
        while True:
            worker, code = await self._run_one(number)
            if self._stop.is_set():
                return code == 0
            served = worker.serving_since
            steady = served is not None and time.monotonic() - served >= STEADY_SECONDS
            failures = 0 if steady else failures + 1
            message, exit_code = worker.failure or (f"The workers end with code {code}.", 1)
            first = worker.failure is not None and not self._all_serving.is_set()
            if not self._any_serves() and (first or (served is None and failures >= FAILURES)):
                raise WorkersError(message, exit_code)
            pause = 0.0 if steady else min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (failures - 1))
            _log.error(
                "a worker has ended, another takes its place",
                worker=number,
                exit_code=code,
                why=worker.failure and message,
                pause_seconds=pause,
            )
            if await self._stopped_within(pause):
                return True
            self.replaced += 1

    async def _run_one(self, number: int) -> tuple[_Running, int]:
        """Start a worker and wait for its end."""
        own, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._environ, VARIABLE: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                # Ctrl-C reaches the supervisor alone, which passes it on: twice is at once.
                start_new_session=True,
            )
        worker = self._running[number] = _Running(process)
        reader, writer = await asyncio.open_connection(sock=own)
        listening = asyncio.create_task(self._listen(worker, reader))
        try:
            code = await self._ended(process)
            await listening
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            listening.cancel()
            writer.close()
            self._running[number] = None
        return worker, code

    async def _listen(self, worker: _Running, reader: asyncio.StreamReader) -> None:
        """Take what the worker tells until it ends."""
        while line := await reader.readline():
            told = json.loads(line)
            if "failed" in told:
                worker.failure = (told["failed"], told["exit_code"])
                continue
            worker.serving_since = time.monotonic()
            worker.metrics_port = told["metrics_port"]
            if all(each and each.serving_since for each in self._running.values()):
                self._all_serving.set()

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Wait for a process's end, after the stop no longer than it has; its exit code."""
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([ended, stop], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([ended], timeout=self._seconds)
            if not ended.done():
                _log.error("a worker does not end and is killed", pid=process.pid)
                process.kill()
            return await ended
        finally:
            ended.cancel()
            stop.cancel()

    def _any_serves(self) -> bool:
        return any(worker and worker.serving_since for worker in self._running.values())

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True
