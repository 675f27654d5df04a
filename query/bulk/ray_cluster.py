"""Workers on Ray: in a cluster of our own on this machine, or in one that is there.

Ray is imported here alone, once `ray_settings` are in the environment.
"""

import asyncio
import io
import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any, Generic, Self

import ray
from ray.exceptions import RayError, RayTaskError

from query.bulk.job import BulkError, Job, Report, SourceT, WorkerDiedError
from query.bulk.worker import BulkWorker
from service_core import processors

_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_REMOVAL_SECONDS = 5.0


class CascadaWorker(Generic[SourceT]):
    """A worker as Ray runs it: method by method, in the main thread of its process."""

    def __init__(self, job: Job[SourceT]) -> None:
        # Ctrl-C reaches every process of the terminal; the command ends its workers by itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._worker = BulkWorker(job)
        self._runner = asyncio.Runner()

    def open(self) -> str:
        """See BulkWorker."""
        return self._runner.run(self._worker.open())

    def index(self, sources: Sequence[SourceT]) -> Report:
        """See BulkWorker."""
        return self._runner.run(self._worker.index(sources))

    def close(self) -> None:
        """See BulkWorker."""
        self._runner.run(self._worker.close())
        self._runner.close()


class RayWorker(Generic[SourceT]):
    """A worker in a process of Ray's."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def open(self) -> str:
        """Open store and channel; what stands in the way, "" for nothing."""
        problem: str = await _answer(self._actor.open.remote())
        return problem

    async def index(self, sources: Sequence[SourceT]) -> Report:
        """Read, chunk, embed and store documents."""
        report: Report = await _answer(self._actor.index.remote(sources))
        return report

    async def close(self) -> None:
        """Let it end what it has begun."""
        await _answer(self._actor.close.remote())

    def kill(self) -> None:
        """End it at once."""
        ray.kill(self._actor)


class RayCluster(Generic[SourceT]):
    """A connection to Ray for the block, and with it a cluster where `address` is ""."""

    def __init__(self, job: Job[SourceT], address: str = "") -> None:
        self._job = job
        self._address = address
        self._folder: Path | None = None
        self._muted = ExitStack()
        # Ray's own way to repeat calls is left off: the engine tells a dead worker's document
        # from the others, and gives up one that kills every worker.
        self._actors: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(
            CascadaWorker
        )
        self._size = 1

    @property
    def size(self) -> int:
        """How many workers can run at a time."""
        return self._size

    def start_worker(self) -> RayWorker[SourceT]:
        """Start one more worker."""
        return RayWorker(self._actors.remote(self._job))

    async def __aenter__(self) -> Self:
        starting = asyncio.create_task(asyncio.to_thread(self._start))
        try:
            await asyncio.shield(starting)
        except BaseException:
            # A thread can't be cancelled: what it has started has to be stopped after it.
            await asyncio.wait([starting])
            await asyncio.to_thread(self._stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._stop)

    def _start(self) -> None:
        quiet: dict[str, Any] = {
            "log_to_driver": False,
            "configure_logging": False,
        }
        # It says at start that it can't mind signals in this thread, which the command does, and
        # tells of every dead worker on standard output, where the result belongs.
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        self._muted.enter_context(redirect_stdout(io.StringIO()))
        try:
            if self._address:
                ray.init(self._address, **quiet)
                self._size = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
                return
            self._folder = Path(tempfile.mkdtemp(prefix="cascada-ray-"))
            self._size = processors.usable()
            ray.init(
                "local",
                num_cpus=self._size,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(self._folder),
                **quiet,
            )
        except Exception as error:  # noqa: BLE001 # it raises whatever stood in its way
            raise BulkError(_not_started(self._address, error)) from None

    def _stop(self) -> None:
        ray.shutdown()
        self._muted.close()
        if self._folder is None:
            return
        # Its processes may write a last line after they were told to end.
        give_up = time.monotonic() + _REMOVAL_SECONDS
        while self._folder.exists() and time.monotonic() < give_up:
            shutil.rmtree(self._folder, ignore_errors=True)
            time.sleep(0.05)


async def _answer(reference: Any) -> Any:
    try:
        return await reference
    except RayTaskError as error:
        raise BulkError(
            f"A worker failed in a way that is not understood ({type(error.cause).__name__}): "
            "index without --engine ray to see more."
        ) from None
    except RayError:
        raise WorkerDiedError from None


def _not_started(address: str, error: Exception) -> str:
    kind = type(error).__name__
    if address:
        return (
            f"There is no Ray cluster to be reached at {address} that fits this command ({kind}): "
            "check the address, and that both have the same versions of Ray and Python."
        )
    return f"Ray does not start on this machine ({kind}): see that memory and disk space are left."
