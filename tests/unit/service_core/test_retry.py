"""Who is asked, how often, when, and what comes of it: the design's rules row by row."""

import asyncio
from contextlib import aclosing

import pytest

from config_core.effective import EffectiveConfiguration
from config_core.errors import BudgetSpentError, CredentialMissingError, Reason
from service_core.attempts import Attempt, Outcome
from service_core.circuit import (
    FAILURES_TO_OPEN,
    REST_SECONDS,
    Circuits,
    CircuitState,
    Passage,
)
from service_core.retry import Restarted
from service_core.upstream.errors import (
    ContentRefusedError,
    ContextTooLongError,
    ModelNotFoundError,
    UpstreamFailedError,
)
from tests.unit.service_core.retry_world import (
    END,
    GROQ,
    HANG,
    KEYS,
    MISTRAL,
    OPENAI,
    ROWS,
    Reply,
    Step,
    Wait,
    Way,
    World,
    ask,
    attempts_of,
    clock,
    configured,
    failed,
    rate_limit,
    read,
    server_error,
    streamed,
    way,
)
from tests.unit.service_core.virtual_clock import VirtualClock

__all__ = ["clock", "way"]


# --- the table: which reason is retried, which falls back ----------------------------------------


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


async def test_a_prompt_that_is_too_long_goes_to_a_model_that_is_declared_larger(
    way: Way, clock: VirtualClock
) -> None:
    effective = configured(
        {"provider": MISTRAL, "model": "nobody-knows"},
        GROQ,
        chat_model="gpt-4o",  # 128,000 tokens, and Groq's default model takes 131,072
    )
    world = World(clock, {OPENAI: [[ContextTooLongError(OPENAI, "Too long.")]]})
    attempts = attempts_of(effective)
    await way(attempts, world)
    assert world.who == [OPENAI, GROQ]
    (skipped,) = [entry for entry in attempts.made if entry.outcome is Outcome.SKIPPED]
    assert (skipped.provider, skipped.reason) == (MISTRAL, Reason.CONTEXT_TOO_LONG)


async def test_a_prompt_that_no_model_takes_is_context_too_long(
    way: Way, clock: VirtualClock
) -> None:
    world = World(
        clock,
        {
            OPENAI: [[ContextTooLongError(OPENAI, "Too long.")]],
            GROQ: [[ContextTooLongError(GROQ, "Too long here too.")]],
        },
    )
    effective = configured(GROQ, MISTRAL, chat_model="gpt-4o")
    caught = await failed(way, attempts_of(effective), world)
    assert caught.message == "Too long here too."
    assert world.who == [OPENAI, GROQ]


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


# --- circuits ------------------------------------------------------------------------------------


def opened(effective: EffectiveConfiguration, clock: VirtualClock) -> Circuits:
    """Circuits in which that of the primary is open."""
    circuits = Circuits(clock.monotonic)
    for _ in range(FAILURES_TO_OPEN):
        passage = circuits.enter(effective.primary.connection)
        assert isinstance(passage, Passage)
        passage.leave(server_error())
    return circuits


async def test_a_connection_whose_circuit_is_open_is_passed_over_and_on_record(
    way: Way, clock: VirtualClock
) -> None:
    effective, world = configured(GROQ, retry_attempts=2), World(clock)
    attempts = attempts_of(effective, circuits=opened(effective, clock))
    await way(attempts, world)
    assert world.asked == [(GROQ, 0.0)]
    skipped = attempts.made[0]
    assert (skipped.outcome, skipped.reason) == (Outcome.SKIPPED, Reason.UPSTREAM_FAILED)


async def test_an_open_circuit_without_an_alternative_is_upstream_failed_with_its_rest(
    way: Way, clock: VirtualClock
) -> None:
    effective, world = configured(retry_attempts=2), World(clock)
    caught = await failed(way, attempts_of(effective, circuits=opened(effective, clock)), world)
    assert (caught.code_reason, caught.retry_after) == (Reason.UPSTREAM_FAILED, REST_SECONDS)
    assert caught.metadata["attempts"] == "0"
    assert world.who == []


async def test_a_probe_is_a_single_attempt(way: Way, clock: VirtualClock) -> None:
    effective = configured(GROQ, retry_attempts=3)
    circuits = opened(effective, clock)
    await asyncio.sleep(REST_SECONDS)
    world = World(clock, {OPENAI: [[server_error()]] * 4})
    await way(attempts_of(effective, circuits=circuits), world)
    assert world.who == [OPENAI, GROQ]


async def test_a_probe_that_succeeds_closes_the_circuit(way: Way, clock: VirtualClock) -> None:
    effective, world = configured(GROQ), World(clock)
    circuits = opened(effective, clock)
    await asyncio.sleep(REST_SECONDS)
    await way(attempts_of(effective, circuits=circuits), world)
    assert [state for _, state in circuits.states()] == [CircuitState.CLOSED]


async def test_a_request_that_keeps_failing_counts_once_for_the_circuit(
    way: Way, clock: VirtualClock
) -> None:
    effective, circuits = configured(retry_attempts=4), Circuits(clock.monotonic)
    world = World(clock, {OPENAI: [[server_error()]] * (FAILURES_TO_OPEN * 5)})
    for _ in range(FAILURES_TO_OPEN - 1):
        await failed(way, attempts_of(effective, circuits=circuits), world)
    assert [state for _, state in circuits.states()] == [CircuitState.CLOSED]
    await failed(way, attempts_of(effective, circuits=circuits), world)
    assert [state for _, state in circuits.states()] == [CircuitState.OPEN]


async def test_a_cancelled_probe_makes_room_for_the_next(way: Way, clock: VirtualClock) -> None:
    effective = configured(first_token_timeout_seconds=100)
    circuits = opened(effective, clock)
    await asyncio.sleep(REST_SECONDS)
    hanging = World(clock, {OPENAI: [[HANG]]})
    task = asyncio.create_task(way(attempts_of(effective, circuits=circuits), hanging))
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait([task])
    world = World(clock)
    await way(attempts_of(effective, circuits=circuits), world)
    assert (hanging.who, world.who) == ([OPENAI], [OPENAI])


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
