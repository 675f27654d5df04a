"""Who is asked, how often, when, and what comes of it: the design's rules row by row."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config_core.effective import EffectiveConfiguration, Target
from config_core.errors import BudgetSpentError, CascadaError, CredentialMissingError, Reason
from config_core.model_configuration import ModelProvider
from service_core.attempts import Attempt, Outcome
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
from tests.unit.config_core.support import chat, snapshot
from tests.unit.service_core.virtual_clock import VirtualClock, virtual_clock

OPENAI, GROQ, MISTRAL = ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL
KEYS = {f"{name}_API_KEY": f"key-of-{name.lower()}" for name in ("OPENAI", "GROQ", "MISTRAL")}


@dataclass(frozen=True)
class Reply:
    """An answer, or the last part of a stream."""

    request_id: str = "req-1"


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
    effective: EffectiveConfiguration, draw: Callable[[float, float], float] | None = None
) -> Attempts:
    deadline = Deadline.after(effective.timeout_seconds)
    return Attempts(effective, deadline, draw=draw or (lambda _, high: high))


def streamed(
    attempts: Attempts, world: World
) -> AsyncGenerator[tuple[str | Reply | Restarted, Target], None]:
    return attempts.stream(
        world.stream,
        is_last=lambda part: isinstance(part, Reply),
        request_id=lambda part: part.request_id if isinstance(part, Reply) else "",
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


# --- the table: which reason is retried, which falls back ----------------------------------------

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


@pytest.mark.parametrize("row", ROWS)
async def test_a_reason_is_retried_and_falls_back_as_the_table_says(
    row: str, way: Way, clock: VirtualClock
) -> None:
    error, retried, falls_back = ROWS[row]
    world = World(clock, {OPENAI: [[error()] for _ in range(3)]})
    attempts = attempts_of(configured(GROQ, retry_attempts=2))
    if falls_back:
        await way(attempts, world)
    else:
        caught = await failed(way, attempts, world)
        assert caught.code_reason is error().code_reason
    assert world.who == [OPENAI] * (3 if retried else 1) + [GROQ] * falls_back


@pytest.mark.parametrize("row", ROWS)
async def test_without_an_alternative_every_reason_is_raised_as_it_is(
    row: str, way: Way, clock: VirtualClock
) -> None:
    error = ROWS[row][0]()
    caught = await failed(way, attempts_of(configured()), World(clock, {OPENAI: [[error]]}))
    assert caught is error
    assert caught.metadata["attempts"] == "1"


async def test_refused_content_falls_back_where_fallback_on_says_so(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[ContentRefusedError(OPENAI, "No.")]]})
    await way(attempts_of(configured(GROQ, fallback_on=["content_refused"])), world)
    assert world.who == [OPENAI, GROQ]


async def test_fallback_on_one_condition_does_not_mean_the_other(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[ContentRefusedError(OPENAI, "No.")]]})
    effective = configured(GROQ, fallback_on=["capability_unsupported"])
    caught = await failed(way, attempts_of(effective), world)
    assert caught.code_reason is Reason.CONTENT_REFUSED
    assert world.who == [OPENAI]


async def test_a_primary_that_lacks_a_capability_is_passed_over_where_fallback_on_says_so(
    way: Way, clock: VirtualClock
) -> None:
    effective = configured(
        MISTRAL, fallback_on=["capability_unsupported"], chat_provider=GROQ, presence_penalty=0.5
    )
    world, attempts = World(clock), attempts_of(effective)
    await way(attempts, world)
    assert world.who == [MISTRAL]
    skipped = attempts.made[0]
    assert (skipped.provider, skipped.outcome) == (GROQ, Outcome.SKIPPED)
    assert skipped.reason is Reason.CAPABILITY_UNSUPPORTED
    assert "presence_penalty" in skipped.detail


async def test_where_every_connection_is_passed_over_the_primarys_reason_is_raised(
    way: Way, clock: VirtualClock
) -> None:
    effective = configured(
        {"provider": GROQ, "model": "another"},
        fallback_on=["capability_unsupported"],
        chat_provider=GROQ,
        presence_penalty=0.5,
    )
    world = World(clock)
    caught = await failed(way, attempts_of(effective), world)
    assert caught.code_reason is Reason.CAPABILITY_UNSUPPORTED
    assert "presence_penalty" in caught.message
    assert caught.metadata["attempts"] == "0"
    assert world.who == []


async def test_an_error_that_is_not_a_providers_is_neither_retried_nor_recorded(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[ValueError("a fault of ours")]]})
    attempts = attempts_of(configured(GROQ, retry_attempts=2))
    with pytest.raises(ValueError, match="a fault of ours"):
        await way(attempts, world)
    assert world.who == [OPENAI]
    assert attempts.made == []


# --- how often -----------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_retry_attempts_counts_retries_and_zero_turns_them_off(
    retries: int, way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[server_error()]] * 9})
    await failed(way, attempts_of(configured(retry_attempts=retries)), world)
    assert world.who == [OPENAI] * (retries + 1)


async def test_every_connection_has_its_own_retries(way: Way, clock: VirtualClock) -> None:
    failing = [[server_error()]] * 9
    world = World(clock, {OPENAI: failing, GROQ: failing, MISTRAL: failing})
    await failed(way, attempts_of(configured(GROQ, MISTRAL, retry_attempts=1)), world)
    assert world.who == [OPENAI] * 2 + [GROQ] * 2 + [MISTRAL] * 2


async def test_the_first_success_ends_the_attempts(way: Way, clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [[server_error()], [END]]})
    await way(attempts_of(configured(GROQ, retry_attempts=5)), world)
    assert world.who == [OPENAI, OPENAI]


# --- when ----------------------------------------------------------------------------------------


async def test_the_wait_is_drawn_from_nought_to_a_ceiling_that_doubles_up_to_eight_seconds(
    way: Way, clock: VirtualClock
) -> None:
    ranges: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        ranges.append((low, high))
        return low

    world = World(clock, {OPENAI: [[server_error()]] * 9})
    await failed(way, attempts_of(configured(retry_attempts=7), draw), world)
    assert ranges == [(0.0, high) for high in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)]


async def test_the_same_connection_is_asked_again_after_the_drawn_wait(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[server_error()]] * 2})
    attempts = attempts_of(configured(retry_attempts=2), lambda _, high: high / 2)
    await way(attempts, world)
    assert world.asked == [(OPENAI, 0.0), (OPENAI, 0.125), (OPENAI, 0.375)]
    assert [attempt.wait for attempt in attempts.made] == [0.0, 0.125, 0.25]


async def test_an_alternative_is_asked_at_once(way: Way, clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [[server_error()]]})
    attempts = attempts_of(configured(GROQ))
    await way(attempts, world)
    assert world.asked == [(OPENAI, 0.0), (GROQ, 0.0)]
    assert attempts.made[1].wait == 0.0


async def test_nobody_is_asked_again_before_the_retry_after(way: Way, clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [[rate_limit(retry_after=20.0)]]})
    await way(attempts_of(configured(GROQ, retry_attempts=1), lambda low, _: low), world)
    assert world.asked == [(OPENAI, 0.0), (OPENAI, 20.0)]


async def test_the_retry_after_of_a_server_error_holds_too(way: Way, clock: VirtualClock) -> None:
    busy = UpstreamFailedError(OPENAI, "Busy.", status=503, retry_after=7.0)
    world = World(clock, {OPENAI: [[busy]]})
    await way(attempts_of(configured(retry_attempts=1)), world)
    assert world.asked == [(OPENAI, 0.0), (OPENAI, 7.0)]


async def test_a_retry_after_below_the_drawn_wait_does_not_shorten_it(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[rate_limit(retry_after=0.125)]]})
    await way(attempts_of(configured(retry_attempts=1)), world)
    assert world.asked == [(OPENAI, 0.0), (OPENAI, 0.25)]


@pytest.mark.parametrize("retry_after", [60.0, 61.0, 3600.0])
async def test_a_retry_after_that_does_not_fit_goes_straight_to_the_alternative(
    retry_after: float, way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[rate_limit(retry_after)]]})
    await way(attempts_of(configured(GROQ, retry_attempts=3)), world)
    assert world.asked == [(OPENAI, 0.0), (GROQ, 0.0)]


async def test_a_retry_after_that_does_not_fit_is_told_at_once_where_nothing_is_left(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[rate_limit(90.0)]]})
    caught = await failed(way, attempts_of(configured(retry_attempts=3)), world)
    assert (caught.code_reason, caught.retry_after) == (Reason.RATE_LIMITED, 90.0)
    assert clock.passed == 0


async def test_a_wait_that_does_not_fit_goes_straight_to_the_alternative(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[Wait(59.75), server_error()]]})
    await way(
        attempts_of(configured(GROQ, retry_attempts=1, first_token_timeout_seconds=60)), world
    )
    assert world.asked == [(OPENAI, 0.0), (GROQ, 59.75)]


# --- limits --------------------------------------------------------------------------------------


async def test_a_unary_attempt_ends_at_its_limit_and_silence_is_not_repeated(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [[HANG]]})
    attempts = attempts_of(configured(GROQ, retry_attempts=3, attempt_timeout_seconds=2.0))
    await ask(attempts, world)
    assert world.asked == [(OPENAI, 0.0), (GROQ, 2.0)]
    first = attempts.made[0]
    assert (first.reason, first.duration) == (Reason.UPSTREAM_FAILED, 2.0)
    assert first.detail == "openai did not answer within 2 s."


async def test_without_a_limit_of_its_own_a_unary_attempt_has_all_that_is_left(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [[Wait(59.0), END]]})
    await ask(attempts_of(configured(GROQ)), world)
    assert world.who == [OPENAI]


async def test_a_stream_ends_at_the_limit_of_its_first_token_and_silence_is_not_repeated(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [[HANG]], GROQ: [["b", END]]})
    attempts = attempts_of(configured(GROQ, retry_attempts=3, first_token_timeout_seconds=5.0))
    assert await read(attempts, world) == ["b", END]
    assert world.asked == [(OPENAI, 0.0), (GROQ, 5.0)]
    assert attempts.made[0].reason is Reason.UPSTREAM_FAILED
    assert attempts.made[0].detail == "openai sent nothing within 5 s."


async def test_a_stream_that_stalls_is_interrupted_and_not_repeated_on_the_same_connection(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [["a", HANG]], GROQ: [["b", END]]})
    attempts = attempts_of(configured(GROQ, retry_attempts=3, stall_timeout_seconds=2.0))
    assert await read(attempts, world) == ["a", Restarted(Reason.STREAM_INTERRUPTED, 2), "b", END]
    assert world.asked == [(OPENAI, 0.0), (GROQ, 2.0)]
    assert attempts.made[0].detail == "The stream of openai fell silent for 2 s."


async def test_a_stall_without_an_alternative_is_stream_interrupted(clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [["a", HANG]]})
    effective = configured(retry_attempts=3, stall_timeout_seconds=2.0)
    caught = await failed(read, attempts_of(effective), world)
    assert caught.code_reason is Reason.STREAM_INTERRUPTED
    assert (world.who, clock.passed) == ([OPENAI], 2.0)


async def test_the_limit_of_a_stall_starts_anew_with_each_part(clock: VirtualClock) -> None:
    slow: list[Step] = [step for text in "abcdef" for step in (text, Wait(1.5))]
    world = World(clock, {OPENAI: [[*slow, END]]})
    effective = configured(stall_timeout_seconds=2.0, attempt_timeout_seconds=3.0)
    assert await read(attempts_of(effective), world) == [*"abcdef", END]


async def test_the_time_that_the_reader_takes_is_not_the_providers_silence(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [["a", "b", END]]})
    effective = configured(stall_timeout_seconds=2.0)
    got = []
    async with aclosing(streamed(attempts_of(effective), world)) as parts:
        async for part, _ in parts:
            got.append(part)
            await asyncio.sleep(10.0)
    assert got == ["a", "b", END]


async def test_a_timeout_of_the_providers_own_is_not_taken_for_a_limit(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[TimeoutError("of another")]]})
    with pytest.raises(TimeoutError, match="of another"):
        await way(attempts_of(configured(GROQ)), world)


# --- the deadline --------------------------------------------------------------------------------


async def test_the_deadline_ends_all_attempts_and_the_error_counts_them(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[server_error()], [HANG]]})
    effective = configured(GROQ, retry_attempts=1, first_token_timeout_seconds=100)
    attempts = attempts_of(effective)
    caught = await failed(way, attempts, world)
    assert isinstance(caught, BudgetSpentError)
    assert caught.metadata["attempts"] == "2"
    assert "after 2 attempts" in caught.message
    assert (clock.passed, world.who) == (60.0, [OPENAI, OPENAI])
    assert [attempt.reason for attempt in attempts.made] == [Reason.UPSTREAM_FAILED] * 2


async def test_a_deadline_in_mid_stream_is_a_spent_budget_and_no_clean_end(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [["a", HANG]]})
    caught = await failed(read, attempts_of(configured(GROQ, stall_timeout_seconds=100)), world)
    assert caught.code_reason is Reason.BUDGET_SPENT
    assert world.who == [OPENAI]


async def test_the_deadline_is_one_for_all_connections(way: Way, clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [[Wait(40.0), server_error()]], GROQ: [[HANG]]})
    effective = configured(GROQ, MISTRAL, first_token_timeout_seconds=100)
    caught = await failed(way, attempts_of(effective), world)
    assert caught.code_reason is Reason.BUDGET_SPENT
    assert (clock.passed, world.who) == (60.0, [OPENAI, GROQ])


async def test_a_timer_that_strikes_a_moment_early_spends_the_budget_all_the_same(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[HANG]]})
    attempts = attempts_of(configured(GROQ, first_token_timeout_seconds=100))
    asyncio.get_running_loop().call_later(30.0, setattr, clock, "lag", 0.0005)
    caught = await failed(way, attempts, world)
    assert caught.code_reason is Reason.BUDGET_SPENT
    assert world.who == [OPENAI]


# --- who decides, and what is on record ----------------------------------------------------------


async def test_the_last_attempt_decides_the_error(way: Way, clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [[rate_limit()]], GROQ: [[ModelNotFoundError(GROQ, "No.")]]})
    caught = await failed(way, attempts_of(configured(GROQ, MISTRAL)), world)
    assert caught.code_reason is Reason.MODEL_NOT_FOUND
    assert caught.metadata["attempts"] == "2"
    assert world.who == [OPENAI, GROQ]


async def test_the_answer_is_given_with_the_target_that_it_came_from(clock: VirtualClock) -> None:
    effective = configured({"provider": GROQ, "model": "another"})
    world = World(clock, {OPENAI: [[server_error()]]})
    _, target = await attempts_of(effective).run(world.call)
    assert (target.connection.provider, target.model) == (GROQ, "another")


async def test_each_part_is_given_with_the_target_that_it_came_from(clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [["a", server_error()]], GROQ: [["b", END]]})
    async with aclosing(streamed(attempts_of(configured(GROQ)), world)) as parts:
        sources = [target.connection.provider async for _, target in parts]
    assert sources == [OPENAI, GROQ, GROQ, GROQ]


async def test_every_attempt_is_on_record_with_what_is_known_of_it(
    way: Way, clock: VirtualClock
) -> None:
    slow: list[Step] = [Wait(1.5), server_error(503)]
    world = World(clock, {OPENAI: [slow], GROQ: [[Wait(0.5), Reply("req-good")]]})
    attempts = attempts_of(configured(GROQ))
    await way(attempts, world)
    models = [target.model for target in attempts.effective.targets]
    assert attempts.made == [
        Attempt(
            OPENAI,
            "",
            models[0],
            Outcome.FAILED,
            Reason.UPSTREAM_FAILED,
            "OpenAI failed.",
            status=503,
            duration=1.5,
            request_id="req-bad",
        ),
        Attempt(GROQ, "", models[1], Outcome.SUCCEEDED, duration=0.5, request_id="req-good"),
    ]


async def test_no_credential_for_the_primary_is_raised_and_not_fallen_back_from(
    way: Way, clock: VirtualClock
) -> None:
    effective = configured(GROQ, environ={"GROQ_API_KEY": "key-of-groq"}, retry_attempts=3)
    world, attempts = World(clock), attempts_of(effective)
    caught = await failed(way, attempts, world)
    assert isinstance(caught, CredentialMissingError)
    assert "OPENAI_API_KEY" in caught.message
    assert world.who == []


async def test_an_alternative_without_a_credential_is_passed_over_and_on_record(
    way: Way, clock: VirtualClock
) -> None:
    environ = {name: key for name, key in KEYS.items() if not name.startswith("GROQ")}
    world = World(clock, {OPENAI: [[server_error()]]})
    attempts = attempts_of(configured(GROQ, MISTRAL, environ=environ))
    await way(attempts, world)
    assert world.who == [OPENAI, MISTRAL]
    (skipped,) = [entry for entry in attempts.made if entry.outcome is Outcome.SKIPPED]
    assert (skipped.provider, skipped.reason) == (GROQ, Reason.CREDENTIAL_MISSING)
    assert "GROQ_API_KEY" in skipped.detail


async def test_a_request_with_its_own_key_never_falls_back_to_the_operators(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[server_error()]]})
    attempts = attempts_of(configured(GROQ, chat_api_key="the-callers-own"))
    caught = await failed(way, attempts, world)
    assert caught.code_reason is Reason.UPSTREAM_FAILED
    assert world.who == [OPENAI]
    (skipped,) = [entry for entry in attempts.made if entry.outcome is Outcome.SKIPPED]
    assert (skipped.provider, skipped.reason) == (GROQ, Reason.POLICY_VIOLATION)


async def test_what_was_passed_over_is_not_counted_as_an_attempt(
    way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[server_error()]]})
    effective = configured(GROQ, environ={"OPENAI_API_KEY": "key-of-openai"})
    caught = await failed(way, attempts_of(effective), world)
    assert caught.metadata["attempts"] == "1"


# --- streams -------------------------------------------------------------------------------------


async def test_a_stream_that_ends_well_is_given_part_by_part(clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [["a", "b", END]]})
    assert await read(attempts_of(configured()), world) == ["a", "b", END]


async def test_before_the_first_part_a_new_attempt_is_no_restart(clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [[server_error()], ["a", END]]})
    assert await read(attempts_of(configured(retry_attempts=1)), world) == ["a", END]


async def test_after_the_first_part_a_retry_restarts_and_gives_the_whole_answer(
    clock: VirtualClock,
) -> None:
    cut = StreamInterruptedError(OPENAI, "Cut.")
    world = World(clock, {OPENAI: [["a", cut], ["a", "b", END]]})
    restarted = Restarted(Reason.STREAM_INTERRUPTED, 2)
    got = await read(attempts_of(configured(retry_attempts=1)), world)
    assert got == ["a", restarted, "a", "b", END]


async def test_a_new_start_that_fails_before_its_first_part_is_not_announced_again(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [["a", server_error()], [server_error()], ["b", END]]})
    got = await read(attempts_of(configured(retry_attempts=2)), world)
    assert got == ["a", Restarted(Reason.UPSTREAM_FAILED, 2), "b", END]


async def test_every_new_start_after_a_part_is_announced_once(clock: VirtualClock) -> None:
    failing: list[Step] = ["a", server_error()]
    world = World(clock, {OPENAI: [failing, failing], GROQ: [["b", rate_limit()], ["c", END]]})
    got = await read(attempts_of(configured(GROQ, retry_attempts=1)), world)
    assert got == [
        "a",
        Restarted(Reason.UPSTREAM_FAILED, 2),
        "a",
        Restarted(Reason.UPSTREAM_FAILED, 3),
        "b",
        Restarted(Reason.RATE_LIMITED, 4),
        "c",
        END,
    ]


async def test_passed_over_alternatives_do_not_count_in_the_number_of_a_restart(
    clock: VirtualClock,
) -> None:
    environ = {"OPENAI_API_KEY": "key-of-openai", "MISTRAL_API_KEY": "key-of-mistral"}
    world = World(clock, {OPENAI: [["a", server_error()]]})
    got = await read(attempts_of(configured(GROQ, MISTRAL, environ=environ)), world)
    assert got == ["a", Restarted(Reason.UPSTREAM_FAILED, 2), END]


async def test_nothing_is_restarted_where_nothing_is_left_to_restart_with(
    clock: VirtualClock,
) -> None:
    world = World(clock, {OPENAI: [["a", StreamInterruptedError(OPENAI, "Cut.")]]})
    async with aclosing(streamed(attempts_of(configured()), world)) as parts:
        assert (await anext(parts))[0] == "a"
        with pytest.raises(StreamInterruptedError):
            await anext(parts)


@pytest.mark.parametrize("cut", [[], ["a"], ["a", "b"]], ids=len)
async def test_a_stream_that_stops_without_its_last_part_is_never_a_clean_end(
    cut: list[Step], clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [cut]})
    caught = await failed(read, attempts_of(configured()), world)
    assert caught.code_reason is Reason.STREAM_INTERRUPTED


async def test_nothing_is_read_after_the_last_part(clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [["a", END, "late", HANG]]})
    assert await read(attempts_of(configured()), world) == ["a", END]
    assert world.open == 0


async def test_closing_the_stream_closes_the_providers_at_once(clock: VirtualClock) -> None:
    world = World(clock, {OPENAI: [["a", HANG]]})
    parts = streamed(attempts_of(configured(GROQ, retry_attempts=3)), world)
    await anext(parts)
    assert world.open == 1
    await parts.aclose()
    assert (world.open, world.who, clock.passed) == (0, [OPENAI], 0.0)


async def test_an_attempt_that_failed_is_closed_before_the_next_begins(
    way: Way, clock: VirtualClock
) -> None:
    open_at_call: list[int] = []
    world = World(clock, {OPENAI: [[server_error()]] * 2})

    class Watched(World):
        def _steps(self, target: Target) -> Sequence[Step]:
            open_at_call.append(self.open)
            return world._steps(target)

    await way(attempts_of(configured(GROQ, retry_attempts=1)), Watched(clock))
    assert open_at_call == [0, 0, 0]


# --- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [5.0, 10.25], ids=["in an attempt", "in a wait"])
async def test_cancellation_passes_and_starts_nothing_more(
    after: float, way: Way, clock: VirtualClock
) -> None:
    world = World(clock, {OPENAI: [[Wait(10.0), rate_limit(20.0)]]})
    attempts = attempts_of(configured(GROQ, retry_attempts=3))
    task = asyncio.create_task(way(attempts, world))
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.who, world.open, clock.passed) == ([OPENAI], 0, after)


# --- whatever happens ----------------------------------------------------------------------------

_errors = st.sampled_from([server_error, silence, rate_limit, *(row[0] for row in ROWS.values())])
_streams = st.tuples(
    st.lists(st.sampled_from("abc"), max_size=3),
    st.one_of(_errors, st.just(lambda: HANG), st.just(lambda: END), st.just(lambda: Wait(0.25))),
)


@given(
    script=st.dictionaries(st.sampled_from([OPENAI, GROQ]), st.lists(_streams, max_size=4)),
    retries=st.integers(0, 2),
)
def test_a_stream_is_whole_after_its_last_restart_or_ends_in_an_error(
    script: Mapping[ModelProvider, list[tuple[list[str], Callable[[], Step]]]], retries: int
) -> None:
    async def main() -> None:
        with virtual_clock() as clock:
            steps = {
                provider: [[*texts, ending()] for texts, ending in streams]
                for provider, streams in script.items()
            }
            world = World(clock, steps)
            attempts = attempts_of(configured(GROQ, retry_attempts=retries))
            got: list[str | Reply | Restarted] = []
            error = None
            try:
                async with aclosing(streamed(attempts, world)) as parts:
                    async for part, _ in parts:
                        got.append(part)
            except CascadaError as caught:
                error = caught
            _check(got, error, world, attempts, steps, retries)

    with asyncio.Runner() as runner:
        runner.run(main())


def _check(
    got: Sequence[str | Reply | Restarted],
    error: CascadaError | None,
    world: World,
    attempts: Attempts,
    steps: Mapping[ModelProvider, Sequence[Sequence[Step]]],
    retries: int,
) -> None:
    assert all(world.who.count(provider) <= retries + 1 for provider in (OPENAI, GROQ))
    assert len(attempts.made) == len(world.who)
    assert world.open == 0
    assert (got[-1:] == [END]) is (error is None)
    starts = [index for index, part in enumerate(got) if isinstance(part, Restarted)]
    assert all(isinstance(got[index - 1], str) for index in starts), "nothing to drop"
    if error is None:
        answered = world.who[-1]
        whole = list(steps.get(answered, ()))[world.who.count(answered) - 1 :][:1] or [(END,)]
        assert list(got[starts[-1] + 1 if starts else 0 :]) == list(whole[0])
