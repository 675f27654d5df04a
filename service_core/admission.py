"""Decides which requests a server begins, and refuses the others before it has worked on them.

Requests that wait for a provider cost little, and many may run. Those that are busy here share one
CPU, and more of them at once only make each other late: they are few. Who waits for either waits
here, one after the other; `QueueRoom` says how many may.

gRPC hands over the calls that have arrived one at a time, some five turns of the event loop apart:
a busy loop leaves them in a queue of gRPC's own, where they grow old unseen. Hence a request only
begins when none has arrived for a few turns, which is when that queue is empty, or when the loop
has nothing else to do.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from config_core.errors import OverloadedError
from config_core.settings import Settings
from service_core.deadline import Deadline
from service_core.load import Callers, Load
from service_core.queue_room import QueueRoom
from service_core.telemetry import Labelled, LiveGauges

QUIET_TURNS = 8
"""Turns of the loop without an arrival after which gRPC has none left; it takes five for one."""
QUIET_SECONDS = 0.0005
"""The same in time, for turns that are shorter than gRPC's thread takes."""
MOST_TURNS = 64
"""Turns after which a request begins although more arrive: callers that never let up would
otherwise have every answer be a refusal."""
FULL_SECONDS = 0.002
"""How long to wait before looking again whether there is room, where there was none."""
SHORT_TURNS, SHORT_SECONDS = 2, 0.00006
"""Turns of this length in a row are those of a loop that has nothing to do: a request may begin."""
RETRY_SECONDS = (0.5, 1.5)
"""Between which a refused caller is asked to wait; drawn, so that they do not return together."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits to begin."""

    since: float
    turn: asyncio.Future[None] = field(repr=False)


class Admission:
    """The door of one server; requests of its own process do not pass it, theirs have already."""

    def __init__(
        self,
        service: str,
        load: Load,
        *,
        most: int,
        busy: int,
        queued: int,
        seconds: float,
        indexing: int,
    ) -> None:
        """Everyone may begin.

        Args:
            service: Its name, for the refusal.
            load: That of the process, all services together.
            most: How many requests run at once.
            busy: How many requests of the process may want something of it at once.
            queued: How many wait to begin at most.
            seconds: How long one waits to begin.
            indexing: How many of those that run may be writing documents.
        """
        self._service = service
        self._load = load
        self._most = most
        self._busy = busy
        self._room = QueueRoom(queued)
        self._seconds = seconds
        self._indexing = indexing
        self._waiting: deque[_Waiting] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._turns = 0
        self._quiet_turns = 0
        self._short_turns = 0
        self._arrived = 0.0
        self._begun = 0
        self.running = 0
        """Requests that have begun, and not ended."""
        self.running_indexing = 0
        """Those of them that write documents."""
        self.refused = 0
        """Requests that were refused since the start."""

    @classmethod
    def of(cls, service: str, settings: Settings, load: Load) -> "Admission":
        """One as the settings say."""
        return cls(
            service,
            load,
            most=settings.max_concurrent_requests,
            busy=settings.max_busy_requests,
            queued=settings.max_queued_requests,
            seconds=settings.max_queue_seconds,
            indexing=settings.max_concurrent_indexing,
        )

    def show(self, gauges: LiveGauges) -> None:
        """Have its numbers read with the metrics."""
        shown = (
            ("running", "Requests that were let in and run.", lambda: self.running),
            ("queued", "Requests that wait to begin.", lambda: self.queued),
            ("refused", "Requests refused for want of room since the start.", lambda: self.refused),
        )
        for name, what, read in shown:
            gauges.add(f"cascada_admission_{name}", what, ("service",), self._labelled(read))

    def _labelled(self, read: Callable[[], int]) -> Callable[[], list[Labelled]]:
        return lambda: [((self._service,), read())]

    @property
    def callers(self) -> Callers:
        """Counts the requests that wait for what their callers send."""
        return self._load.callers

    @property
    def queued(self) -> int:
        """Requests that wait to begin."""
        return len(self._waiting)

    @asynccontextmanager
    async def admitted(
        self, deadline: Callable[[], Deadline] = Deadline.never, *, indexing: bool = False
    ) -> AsyncIterator[None]:
        """Runs the block once there is room.

        Args:
            deadline: The caller's, asked for only where the request has to wait.
            indexing: Whether it writes documents.

        Raises:
            OverloadedError: There is none, and there was none in time.
        """
        if indexing and self.running_indexing >= self._indexing:
            raise self._refusal()
        self.running_indexing += indexing
        try:
            self._arrived, self._quiet_turns = time.perf_counter(), 0
            if self.running or self._waiting:
                await self._turn(deadline())
            else:
                self._begin()
            try:
                yield
            finally:
                self._end()
        finally:
            self.running_indexing -= indexing

    def _begin(self) -> None:
        self._begun += 1
        self.running += 1
        self._load.running += 1

    def _end(self) -> None:
        self.running -= 1
        self._load.running -= 1

    async def _turn(self, deadline: Deadline) -> None:
        """Wait to begin; the request counts as running afterwards."""
        now = time.perf_counter()
        room, waiting = self._room, len(self._waiting)
        if not room.admits(now, waiting=waiting, running=self.running, begun=self._begun):
            raise self._refusal()
        loop = asyncio.get_running_loop()
        own = _Waiting(now, loop.create_future())
        self._waiting.append(own)
        if self._pump is None:
            self._pump = loop.create_task(self._begin_waiting(), name="admission")
        too_late = loop.call_later(deadline.at_most(self._seconds), self._refuse, own)
        try:
            await own.turn
        except asyncio.CancelledError:
            if own in self._waiting:
                self._waiting.remove(own)
            elif own.turn.done() and not own.turn.cancelled() and own.turn.exception() is None:
                self._end()
            raise
        finally:
            too_late.cancel()

    async def _begin_waiting(self) -> None:
        """Give turns until nobody waits."""
        before = time.perf_counter()
        try:
            while self._waiting:
                await asyncio.sleep(FULL_SECONDS if self._is_full() else 0)
                now = time.perf_counter()
                self._turns += 1
                self._quiet_turns += 1
                self._short_turns = self._short_turns + 1 if now - before < SHORT_SECONDS else 0
                before = now
                while self._waiting and self._room.drops(now, self._waiting[0].since):
                    self._refuse(self._waiting[0])
                if self._is_time(now) and self._waiting and not self._is_full():
                    turn = self._waiting.popleft().turn
                    if not turn.done():
                        self._begin()
                        turn.set_result(None)
                        self._arrived = now
                        self._turns = self._quiet_turns = self._short_turns = 0
        finally:
            self._pump = None

    def _is_full(self) -> bool:
        return self.running >= self._most or self._load.busy >= self._busy

    def _is_time(self, now: float) -> bool:
        """Whether the next request may begin."""
        quiet = self._quiet_turns >= QUIET_TURNS and now - self._arrived >= QUIET_SECONDS
        return quiet or self._short_turns >= SHORT_TURNS or self._turns >= MOST_TURNS

    def _refuse(self, waiting: _Waiting) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            if not waiting.turn.done():
                waiting.turn.set_exception(self._refusal())

    def _refusal(self) -> OverloadedError:
        self.refused += 1
        error = OverloadedError(
            f"The {self._service} service has no room for the request at the moment: try again a "
            "second later."
        )
        error.retry_after = random.uniform(*RETRY_SECONDS)  # noqa: S311 # a wait is no secret
        return error
