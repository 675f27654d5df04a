import asyncio

import pytest

from config_core.errors import BudgetSpentError
from service_core.deadline import Deadline


def test_what_is_left_never_falls_below_zero() -> None:
    deadline = Deadline.after(-5)
    assert deadline.remaining() == 0
    assert deadline.expired


@pytest.mark.parametrize(
    ("time_remaining", "timeout_seconds", "expected"),
    [(None, 60, 60), (10, 60, 10), (100, 60, 60), (1e9, 60, 60), (0, 60, 0)],
)
def test_the_smaller_of_caller_and_configuration_holds(
    time_remaining: float | None, timeout_seconds: float, expected: float
) -> None:
    got = Deadline.from_context(time_remaining, timeout_seconds).remaining()
    assert got == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("seconds", [0.1, 1, 60])
def test_the_callers_deadline_is_taken_with_a_margin_for_our_own_error(seconds: float) -> None:
    assert (
        0.8 * seconds < Deadline.of_caller(seconds).remaining() < seconds - 0.1 * min(seconds, 0.5)
    )


def test_a_caller_without_a_deadline_has_time_enough() -> None:
    assert Deadline.of_caller(None).remaining() > 24 * 3600


def test_of_two_deadlines_the_earlier_is_the_smaller() -> None:
    early, late = Deadline(1.0), Deadline(2.0)
    assert min(late, early) is early


def test_a_step_gets_its_own_limit_or_what_is_left() -> None:
    deadline = Deadline.after(100)
    assert deadline.at_most(5) == 5
    assert deadline.at_most(None) == pytest.approx(100, abs=1)
    assert deadline.at_most(1000) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("seconds", [0.001, 0.1, 1, 60])
def test_a_hop_hands_down_less_than_it_has(seconds: float) -> None:
    deadline = Deadline.after(seconds)
    assert deadline.handed_down() < seconds


def test_the_margin_leaves_most_of_a_short_deadline() -> None:
    assert Deadline.after(60).handed_down() > 59


@pytest.mark.parametrize("seconds", [15, 40, 60, 99.97, 150, 600, 1234])
def test_what_is_handed_down_has_the_three_digits_that_grpc_keeps(seconds: float) -> None:
    # It rounds up to three digits: 14.95 s would arrive as 15, which is more than there is.
    handed = Deadline.after(seconds).handed_down()
    assert handed == pytest.approx(float(f"{handed:.3g}"), abs=1e-9)
    assert handed < seconds


async def test_the_block_ends_at_the_deadline() -> None:
    with pytest.raises(BudgetSpentError):
        async with Deadline.after(0.01).timeout():
            await asyncio.Event().wait()


async def test_a_block_does_not_begin_after_the_deadline() -> None:
    began = False
    with pytest.raises(BudgetSpentError):
        async with Deadline.after(0).timeout():
            began = True
    assert not began


async def test_a_timeout_of_the_block_itself_passes_unchanged() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline.after(60).timeout():
            raise TimeoutError


async def test_a_shorter_deadline_inside_does_not_spend_the_outer_one() -> None:
    async with Deadline.after(60).timeout():
        with pytest.raises(BudgetSpentError):
            async with Deadline.after(0.01).timeout():
                await asyncio.Event().wait()


async def test_a_cancellation_from_outside_stays_one() -> None:
    began = asyncio.Event()

    async def work() -> None:
        async with Deadline.after(60).timeout():
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
