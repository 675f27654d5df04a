"""The one owner of retries and fallbacks: who is asked next, and after which wait.

A connection is asked again after a retryable failure, at most `retry_attempts` times, with
exponential backoff and full jitter and never before its Retry-After. When that is used up, does not
fit into what is left of the deadline, or would ask a connection that had answered with silence, the
next alternative is asked at once. After a stream's first part nothing is glued together: the reader
is told to start again.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from config_core.effective import EffectiveConfiguration, Target
from config_core.errors import BudgetSpentError, CascadaError, Reason, RemoteError
from config_core.model_configuration import ModelProvider
from service_core.attempts import Attempt, Outcome
from service_core.backoff import Draw, backoff
from service_core.circuit import Circuits, Passage
from service_core.deadline import Deadline
from service_core.fallback import falls_back, takes_longer_prompt
from service_core.load import Away
from service_core.observer import UNOBSERVED, Answer, Beginning, Observer, StandIn
from service_core.trial import Trial
from service_core.upstream.errors import (
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
)

_EARLY_SECONDS = 0.002
"""What is left of a deadline whose timer has struck: uvloop's strike up to a millisecond early."""


T = TypeVar("T")
A = TypeVar("A", bound=Answer)
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Restarted:
    """What came so far is void; attempt number `attempt` gives the whole answer."""

    reason: Reason
    attempt: int


@dataclass(slots=True)
class Attempts:
    """One operation's attempts, and the rules by which the next one is chosen."""

    effective: EffectiveConfiguration
    deadline: Deadline
    circuits: Circuits = field(default_factory=Circuits)
    observer: Observer = UNOBSERVED
    made: list[Attempt] = field(default_factory=list)
    draw: Draw = random.uniform
    away: Away = field(default_factory=Away)
    """Counts the operation while it lasts."""

    async def run(self, call: Callable[[Target], Awaitable[A]]) -> tuple[A, Target]:
        """Give the first answer, and the target that it came from."""
        async with self._elsewhere(), aclosing(self._trials(streams=False)) as trials:
            async for trial in trials:
                with trial:
                    answer = await self._within_attempt(call, trial.target)
                    trial.succeeded(answer)
                    return answer, trial.target
        raise AssertionError  # the trials end in an answer or an error

    async def stream(
        self,
        call: Callable[[Target], AsyncGenerator[P, None]],
        ending: Callable[[P], Answer | None],
    ) -> AsyncGenerator[tuple[P | Restarted, Target], None]:
        """Give the parts of the first stream that ends well, `Restarted` before each new start.

        `ending` gives what a stream's last part tells, and `None` for the others.
        """
        broken: CascadaError | None = None
        async with self._elsewhere(), aclosing(self._trials(streams=True)) as trials:
            async for trial in trials:
                if broken is not None:
                    yield Restarted(broken.code_reason, self._called() + 1), trial.target
                    broken = None
                begun = False
                with trial:
                    async with aclosing(call(trial.target)) as parts:
                        while True:
                            part = await self._next(parts, trial.target, begun=begun)
                            if not begun:
                                trial.watch.first_part()
                            answer = ending(part)
                            if answer is not None:
                                trial.succeeded(answer)
                                yield part, trial.target
                                return
                            begun = True
                            yield part, trial.target
                if begun:
                    broken = trial.error

    def _elsewhere(self) -> Away:
        """What counts the operation; one of a model in this process is no wait for others."""
        protocol = self.effective.primary.connection.protocol
        return Away() if protocol is ModelProvider.LOCAL else self.away

    async def _trials(self, *, streams: bool) -> AsyncGenerator[Trial, None]:
        """The attempts to make, one after the other; raises where none is left."""
        last: CascadaError | None = None
        primary = self.effective.primary
        if primary.skip is None and primary.problem is not None:
            raise primary.problem
        for target in self.effective.targets:
            if target.skip is not None:
                self._skipped(Attempt.skipped(target, target.skip.reason, target.skip.detail))
                continue
            if not self._may_follow(target, last):
                continue
            passage = self.circuits.enter(target.connection)
            if isinstance(passage, Passage):
                async with aclosing(self._trials_of(target, passage, streams=streams)) as trials:
                    async for trial in trials:
                        yield trial
                        last = trial.error
            else:
                last = self._held_back(target, passage)
            assert last is not None  # the reader stops at an answer
            if self._spent or not falls_back(last, self.effective.values.fallbacks):
                break
        raise self._final(last)

    async def _trials_of(
        self, target: Target, passage: Passage, *, streams: bool
    ) -> AsyncGenerator[Trial, None]:
        """The attempts to make at one connection; a probe of an open circuit is a single one."""
        retries = 0 if passage.is_probe else self.effective.retry_attempts
        wait = 0.0
        try:
            for retry in range(retries + 1):
                if wait:
                    await asyncio.sleep(wait)
                watch = self.observer.begun(
                    Beginning(
                        self.effective,
                        target,
                        self._called() + 1,
                        wait,
                        streams,
                        None if retry else self._stands_in(),
                    )
                )
                trial = Trial(self.made.append, target, passage, wait, watch)
                yield trial
                assert trial.error is not None  # the reader stops at an answer
                pause = self._pause(trial.error, retry) if retry < retries else None
                if pause is None:
                    passage.leave(trial.error)
                    break
                wait = pause
        finally:
            passage.leave(asyncio.CancelledError())

    def _skipped(self, attempt: Attempt) -> None:
        """Put on record that an alternative was passed over."""
        self.made.append(attempt)
        self.observer.skipped(attempt)

    def _stands_in(self) -> StandIn | None:
        """Whom an alternative stands in for: whoever was called last, else the first."""
        if not self.made:
            return None
        called = [attempt for attempt in self.made if attempt.outcome is not Outcome.SKIPPED]
        before = called[-1] if called else self.made[0]
        assert before.reason is not None  # the operation is over after a success
        return StandIn(before, before.reason)

    def _may_follow(self, target: Target, last: CascadaError | None) -> bool:
        """After a prompt that was too long only a model declared larger is asked."""
        if last is None or last.code_reason is not Reason.CONTEXT_TOO_LONG:
            return True
        if takes_longer_prompt(target, self.effective.targets, self.made):
            return True
        detail = f"{target.model} is not declared to take a longer prompt"
        self._skipped(Attempt.skipped(target, Reason.CONTEXT_TOO_LONG, detail))
        return False

    def _held_back(self, target: Target, wait: float) -> UpstreamError:
        """The failure that stands for a call to a connection whose circuit is open."""
        provider = target.connection.provider
        detail = f"{provider} has failed repeatedly and is left alone for a while"
        self._skipped(Attempt.skipped(target, Reason.UPSTREAM_FAILED, detail))
        return UpstreamFailedError(provider, f"{detail}.", retry_after=wait, silent=True)

    async def _within_attempt(self, call: Callable[[Target], Awaitable[T]], target: Target) -> T:
        limit = self.deadline.at_most(self.effective.values.attempt_timeout_seconds)
        try:
            async with asyncio.timeout(limit) as scope:
                return await call(target)
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._silence(target, "did not answer", limit) from None

    async def _next(self, parts: AsyncGenerator[P, None], target: Target, *, begun: bool) -> P:
        values = self.effective.values
        own = values.stall_timeout_seconds if begun else values.first_token_timeout_seconds
        limit = self.deadline.at_most(own)
        try:
            async with asyncio.timeout(limit) as scope:
                return await anext(parts)
        except TimeoutError:
            if not scope.expired():
                raise
            if begun:
                error: UpstreamError = StreamInterruptedError(
                    target.connection.provider,
                    f"The stream of {target.connection.provider} fell silent for {limit:.3g} s.",
                    silent=True,
                    waited=limit,
                )
            else:
                error = self._silence(target, "sent nothing", limit)
            raise error from None
        except StopAsyncIteration:
            raise StreamInterruptedError(
                target.connection.provider,
                f"The stream of {target.connection.provider} ended without its end.",
            ) from None

    def _silence(self, target: Target, what: str, limit: float) -> UpstreamFailedError:
        provider = target.connection.provider
        sentence = f"{provider} {what} within {limit:.3g} s."
        return UpstreamFailedError(provider, sentence, silent=True, waited=limit)

    def _pause(self, error: UpstreamError, retry: int) -> float | None:
        """Seconds to wait before the same connection is asked again; `None` where it is not."""
        if not error.retryable:
            return None
        pause = backoff(error, retry, self.draw)
        return pause if pause < self.deadline.remaining() else None

    def _final(self, last: CascadaError | None) -> CascadaError:
        """What the caller gets: the last attempt decides, unless the budget was spent."""
        called = self._called()
        if last is None:
            skipped = self.effective.primary.skip
            assert skipped is not None
            last = RemoteError(
                skipped.reason, f"No connection is left to answer: {skipped.detail}."
            )
        elif self._spent:
            last = BudgetSpentError(
                f"The deadline passed after {called} attempt{'s' if called != 1 else ''}: give the "
                "call more time, raise timeout_seconds, or lower attempt_timeout_seconds.",
            )
        last.metadata.setdefault("attempts", str(called))
        return last

    @property
    def _spent(self) -> bool:
        return self.deadline.remaining() <= _EARLY_SECONDS

    def _called(self) -> int:
        return sum(attempt.outcome is not Outcome.SKIPPED for attempt in self.made)


class UpstreamCalls(Protocol):
    """Whoever gives a service the attempts of its operations."""

    def attempts(self, effective: EffectiveConfiguration, deadline: Deadline) -> Attempts:
        """The attempts of one operation."""
        ...
