"""What the reader of a stream gets: parts, restarts, one whole answer, or an error."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config_core.effective import Target
from config_core.errors import CascadaError, Reason
from config_core.model_configuration import ModelProvider
from service_core.attempts import Outcome
from service_core.retry import Attempts, Restarted
from service_core.upstream.errors import (
    StreamInterruptedError,
)
from tests.unit.service_core.retry_world import (
    END,
    GROQ,
    HANG,
    MISTRAL,
    OPENAI,
    ROWS,
    Reply,
    Step,
    Wait,
    Way,
    World,
    attempts_of,
    clock,
    configured,
    failed,
    rate_limit,
    read,
    server_error,
    silence,
    streamed,
    way,
)
from tests.unit.service_core.virtual_clock import VirtualClock, virtual_clock

__all__ = ["clock", "way"]


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
    called = [entry for entry in attempts.made if entry.outcome is not Outcome.SKIPPED]
    assert len(called) == len(world.who)
    assert world.open == 0
    assert (got[-1:] == [END]) is (error is None)
    starts = [index for index, part in enumerate(got) if isinstance(part, Restarted)]
    assert all(isinstance(got[index - 1], str) for index in starts), "nothing to drop"
    if error is None:
        answered = world.who[-1]
        whole = list(steps.get(answered, ()))[world.who.count(answered) - 1 :][:1] or [(END,)]
        assert list(got[starts[-1] + 1 if starts else 0 :]) == list(whole[0])
