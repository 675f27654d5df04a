"""The thread that writes into a SQLite file: what waits for it at the same time shares a commit."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import apsw

from query.store.errors import StoreUnavailableError
from query.store.sqlite.connection import own_errors, transaction

Result = TypeVar("Result")

# A commit waits for the disk as long as some small documents take. Other processes wait meanwhile.
_SHARED_SECONDS = 0.05
# So long that another process sees the lock free: it looks more often.
_FREE_SECONDS = 0.002


@dataclass(slots=True, eq=False)
class _Write(Generic[Result]):
    job: Callable[[apsw.Connection], Result]
    done: "Future[Result]" = field(default_factory=Future)


class Writer:
    """One connection and its thread. Nobody hears of a write before it is on disk."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._waiting: deque[_Write[Any]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")

    async def run(self, job: Callable[[apsw.Connection], Result]) -> Result:
        """What `job` gives, which may run twice, once it is on disk."""
        write = _Write(job)
        self._waiting.append(write)
        try:
            self._thread.submit(self._commit_waiting)
        except RuntimeError:
            write.done.cancel()
            raise StoreUnavailableError("The store is closed.") from None
        return await asyncio.wrap_future(write.done)

    def close(self) -> None:
        """Finish what waits, then disconnect."""
        self._thread.shutdown(wait=True)
        self._connection.close()

    def _commit_waiting(self) -> None:
        first = self._next()
        if first is None:
            return  # it went into the transaction of one before it
        began = time.monotonic()
        self._commit(first, self._in_time())
        if self._waiting and time.monotonic() - began >= _SHARED_SECONDS:
            time.sleep(_FREE_SECONDS)

    def _commit(self, first: _Write[Any], others: Iterable[_Write[Any]] = ()) -> None:
        """One transaction for all; where it fails, one for each."""
        group = [first]
        try:
            with own_errors(), transaction(self._connection, write=True):
                results = [first.job(self._connection)]
                for other in others:
                    group.append(other)
                    results.append(other.job(self._connection))
        except Exception as error:  # noqa: BLE001 # whoever waits has to raise it
            if len(group) == 1:
                first.done.set_exception(error)
                return
            for write in group:
                self._commit(write)
        else:
            for write, result in zip(group, results, strict=True):
                write.done.set_result(result)

    def _in_time(self) -> Iterator[_Write[Any]]:
        end = time.monotonic() + _SHARED_SECONDS
        while time.monotonic() < end and (write := self._next()):
            yield write

    def _next(self) -> _Write[Any] | None:
        """What has waited longest, unless nobody waits for it any more."""
        while self._waiting:
            write = self._waiting.popleft()
            if write.done.set_running_or_notify_cancel():
                return write
        return None
