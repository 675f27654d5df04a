"""The one owner of retries and fallbacks: who is asked next, and after which wait.

A connection is asked again after a retryable failure, at most `retry_attempts` times, with
exponential backoff and full jitter and never before its Retry-After. When that is used up, does not
fit into what is left of the deadline, or would ask a connection that had answered with silence, the
next alternative is asked at once. After a stream's first part nothing is glued together: the reader
is told to start again.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from config_core.effective import EffectiveConfiguration, Target
from config_core.errors import BudgetSpentError, CascadaError, Reason, RemoteError
from config_core.model_configuration import FallbackCondition
from service_core.attempts import Attempt
from service_core.deadline import Deadline
from service_core.upstream.errors import (
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
)

BACKOFF_SECONDS = 0.25
"""Ceiling of the first wait; each further one doubles it."""
MAX_BACKOFF_SECONDS = 8.0

_FALLS_BACK = frozenset(
    {
        Reason.UPSTREAM_CREDENTIAL_REJECTED,
        Reason.RATE_LIMITED,
        Reason.UPSTREAM_FAILED,
        Reason.STREAM_INTERRUPTED,
    }
)
_FALLS_BACK_ON = {
    Reason.CAPABILITY_UNSUPPORTED: FallbackCondition.CAPABILITY_UNSUPPORTED,
    Reason.CONTENT_REFUSED: FallbackCondition.CONTENT_REFUSED,
}


class Answer(Protocol):
    """What the runner needs to know of an answer or of a stream's last part."""

    @property
    def request_id(self) -> str:
        """The provider's own id of the request."""
        ...


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
    made: list[Attempt] = field(default_factory=list)
    draw: Callable[[float, float], float] = random.uniform

    async def run(self, call: Callable[[Target], Awaitable[A]]) -> tuple[A, Target]:
        """Give the first answer, and the target that it came from."""
        last: CascadaError | None = None
        for target in self._targets():
            wait = 0.0
            for retry in range(self.effective.retry_attempts + 1):
                await asyncio.sleep(wait)
                began = time.monotonic()
                try:
                    answer = await self._within_attempt(call, target)
                except UpstreamError as error:
                    last = error
                    self._failed(target, error, wait, began)
                    pause = self._pause(error, retry)
                    if pause is None:
                        break
                    wait = pause
                else:
                    self._succeeded(target, answer.request_id, wait, began)
                    return answer, target
            assert last is not None
            if not self._falls_back(last):
                break
        raise self._final(last)

    async def stream(
        self,
        call: Callable[[Target], AsyncGenerator[P, None]],
        is_last: Callable[[P], bool],
        request_id: Callable[[P], str],
    ) -> AsyncGenerator[tuple[P | Restarted, Target], None]:
        """Give the parts of the first stream that ends well, `Restarted` before each new start."""
        last: CascadaError | None = None
        begun = False
        for target in self._targets():
            wait = 0.0
            for retry in range(self.effective.retry_attempts + 1):
                await asyncio.sleep(wait)
                began = time.monotonic()
                if begun:
                    assert last is not None
                    begun = False
                    yield Restarted(last.code_reason, self._called() + 1), target
                try:
                    async with aclosing(call(target)) as parts:
                        while True:
                            part = await self._next(parts, target, begun=begun)
                            if is_last(part):
                                self._succeeded(target, request_id(part), wait, began)
                                yield part, target
                                return
                            begun = True
                            yield part, target
                except UpstreamError as error:
                    last = error
                    self._failed(target, error, wait, began)
                    pause = self._pause(error, retry)
                    if pause is None:
                        break
                    wait = pause
            assert last is not None
            if not self._falls_back(last):
                break
        raise self._final(last)

    def _targets(self) -> list[Target]:
        """The targets to ask; those passed over are on record with the reason."""
        primary, *alternatives = self.effective.targets
        if primary.skip is None and primary.problem is not None:
            raise primary.problem
        asked = []
        for target in (primary, *alternatives):
            if target.skip is None:
                asked.append(target)
            else:
                self.made.append(Attempt.skipped(target, target.skip.reason, target.skip.detail))
        return asked

    async def _within_attempt(self, call: Callable[[Target], Awaitable[T]], target: Target) -> T:
        limit = self.deadline.at_most(self.effective.values.attempt_timeout_seconds)
        try:
            async with asyncio.timeout(limit) as scope:
                return await call(target)
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._silence(target, f"did not answer within {limit:.3g} s") from None

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
                )
            else:
                error = self._silence(target, f"sent nothing within {limit:.3g} s")
            raise error from None
        except StopAsyncIteration:
            raise StreamInterruptedError(
                target.connection.provider,
                f"The stream of {target.connection.provider} ended without its end.",
            ) from None

    def _silence(self, target: Target, what: str) -> UpstreamFailedError:
        provider = target.connection.provider
        return UpstreamFailedError(provider, f"{provider} {what}.", silent=True)

    def _pause(self, error: UpstreamError, retry: int) -> float | None:
        """Seconds to wait before the same connection is asked again; `None` where it is not."""
        if not error.retryable or retry >= self.effective.retry_attempts:
            return None
        ceiling = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0**retry)
        pause = self.draw(0.0, ceiling)
        if error.retry_after is not None:
            pause = max(pause, error.retry_after)
        return pause if pause < self.deadline.remaining() else None

    def _falls_back(self, error: CascadaError) -> bool:
        if self.deadline.expired:
            return False
        reason = error.code_reason
        if reason in _FALLS_BACK:
            return True
        fallbacks = self.effective.values.fallbacks
        return fallbacks is not None and _FALLS_BACK_ON.get(reason) in fallbacks.fallback_on

    def _final(self, last: CascadaError | None) -> CascadaError:
        """What the caller gets: the last attempt decides, unless the budget was spent."""
        called = self._called()
        if last is None:
            skipped = self.effective.primary.skip
            assert skipped is not None
            last = RemoteError(
                skipped.reason, f"No connection is left to answer: {skipped.detail}."
            )
        elif self.deadline.expired:
            last = BudgetSpentError(
                f"The deadline passed after {called} attempt{'s' if called != 1 else ''}: give the "
                "call more time, raise timeout_seconds, or lower attempt_timeout_seconds.",
            )
        last.metadata.setdefault("attempts", str(called))
        return last

    def _called(self) -> int:
        return sum(attempt.outcome != "skipped" for attempt in self.made)

    def _failed(self, target: Target, error: CascadaError, wait: float, began: float) -> None:
        duration = time.monotonic() - began
        self.made.append(Attempt.failed(target, error, wait=wait, duration=duration))

    def _succeeded(self, target: Target, request_id: str, wait: float, began: float) -> None:
        duration = time.monotonic() - began
        self.made.append(
            Attempt.succeeded(target, wait=wait, duration=duration, request_id=request_id)
        )
