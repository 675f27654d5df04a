"""Providers that do what a script says, for the tests of retries, on a clock of their own."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from config_core.effective import EffectiveConfiguration, Target
from config_core.errors import CascadaError
from config_core.model_configuration import ModelProvider
from service_core.circuit import Circuits
from service_core.deadline import Deadline
from service_core.retry import Attempts, Restarted
from service_core.upstream.errors import (
    ContentRefusedError,
    ContextTooLongError,
    CredentialRejectedError,
    ModelNotFoundError,
    RateLimitedError,
    StreamInterruptedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.usage import Usage
from tests.unit.config_core.support import chat, snapshot
from tests.unit.service_core.virtual_clock import VirtualClock, virtual_clock

OPENAI, GROQ, MISTRAL = ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL
KEYS = {f"{name}_API_KEY": f"key-of-{name.lower()}" for name in ("OPENAI", "GROQ", "MISTRAL")}


@dataclass(frozen=True)
class Reply:
    """An answer, or the last part of a stream."""

    request_id: str = "req-1"
    usage: Usage = field(default_factory=Usage)
    model: str = ""


@dataclass(frozen=True)
class Wait:
    """Seconds of silence; for good without a number."""

    seconds: float = 1e9


Step = UpstreamError | Exception | Reply | Wait | str
HANG = Wait()
END = Reply()


@dataclass
class World:
    """Providers that do what their script says, one entry a call, and who was asked when."""

    clock: VirtualClock
    script: Mapping[ModelProvider, Sequence[Sequence[Step]]] = field(default_factory=dict)
    asked: list[tuple[ModelProvider, float]] = field(default_factory=list)
    open: int = 0
    _left: dict[ModelProvider, deque[Sequence[Step]]] = field(default_factory=dict)

    @property
    def who(self) -> list[ModelProvider]:
        return [provider for provider, _ in self.asked]

    def _steps(self, target: Target) -> Sequence[Step]:
        provider = target.connection.provider
        self.asked.append((provider, self.clock.passed))
        left = self._left.setdefault(provider, deque(self.script.get(provider, ())))
        return left.popleft() if left else (END,)

    async def call(self, target: Target) -> Reply:
        async with aclosing(self.stream(target)) as parts:
            async for part in parts:
                if isinstance(part, Reply):
                    return part
        raise AssertionError("the script has no answer")

    async def stream(self, target: Target) -> AsyncGenerator[str | Reply, None]:
        steps = self._steps(target)
        self.open += 1
        try:
            for step in steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                else:
                    yield step
        finally:
            self.open -= 1


@pytest.fixture
async def clock() -> AsyncIterator[VirtualClock]:
    with virtual_clock() as found:
        yield found


def configured(
    *alternatives: ModelProvider | Mapping[str, Any],
    fallback_on: Sequence[str] = (),
    environ: Mapping[str, str] = KEYS,
    **values: Any,
) -> EffectiveConfiguration:
    """OpenAI first unless told otherwise, with these alternatives; a minute, and no retries."""
    fallbacks = {
        "alternatives": tuple(
            {"provider": entry} if isinstance(entry, ModelProvider) else entry
            for entry in alternatives
        ),
        "fallback_on": tuple(fallback_on),
    }
    given = {"chat_provider": OPENAI, "timeout_seconds": 60.0, "retry_attempts": 0, **values}
    return chat(snapshot({}, environ), {**given, "fallbacks": fallbacks})


def attempts_of(
    effective: EffectiveConfiguration,
    draw: Callable[[float, float], float] | None = None,
    circuits: Circuits | None = None,
) -> Attempts:
    """The attempts of a request that begins now; each wait is as long as it may be."""
    deadline = Deadline.after(effective.timeout_seconds)
    return Attempts(
        effective, deadline, circuits or Circuits(), draw=draw or (lambda _, high: high)
    )


def ending(part: str | Reply) -> Reply | None:
    """What tells that a stream has ended."""
    return part if isinstance(part, Reply) else None


def streamed(
    attempts: Attempts, world: World
) -> AsyncGenerator[tuple[str | Reply | Restarted, Target], None]:
    return attempts.stream(
        world.stream,
        ending,
    )


async def ask(attempts: Attempts, world: World) -> Reply:
    reply, _ = await attempts.run(world.call)
    return reply


async def read(attempts: Attempts, world: World) -> list[str | Reply | Restarted]:
    async with aclosing(streamed(attempts, world)) as parts:
        return [part async for part, _ in parts]


Way = Callable[[Attempts, World], Any]


@pytest.fixture(params=[ask, read], ids=["unary", "stream"])
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


async def failed(way: Way, attempts: Attempts, world: World) -> CascadaError:
    with pytest.raises(CascadaError) as caught:
        await way(attempts, world)
    return caught.value


def server_error(status: int = 500) -> UpstreamFailedError:
    return UpstreamFailedError(OPENAI, "OpenAI failed.", status=status, request_id="req-bad")


def silence() -> UpstreamFailedError:
    return UpstreamFailedError(OPENAI, "OpenAI was silent.", silent=True)


def rate_limit(retry_after: float | None = None) -> RateLimitedError:
    return RateLimitedError(OPENAI, "Too many.", status=429, retry_after=retry_after)


ROWS: Mapping[str, tuple[Callable[[], UpstreamError], bool, bool]] = {
    "rate limited": (rate_limit, True, True),
    "failed": (server_error, True, True),
    "failed in silence": (silence, False, True),
    "stream interrupted": (lambda: StreamInterruptedError(OPENAI, "Cut."), True, True),
    "operator's key rejected": (
        lambda: CredentialRejectedError(OPENAI, "No.", callers=False, status=401),
        False,
        True,
    ),
    "caller's key rejected": (
        lambda: CredentialRejectedError(OPENAI, "No.", callers=True, status=401),
        False,
        False,
    ),
    "model not found": (lambda: ModelNotFoundError(OPENAI, "No."), False, False),
    "context too long": (lambda: ContextTooLongError(OPENAI, "No."), False, False),
    "content refused": (lambda: ContentRefusedError(OPENAI, "No."), False, False),
    "rejected": (lambda: UpstreamRejectedError(OPENAI, "No.", status=422), False, False),
}
"""Failures by name: how each is made, whether it is retried, whether it falls back."""
