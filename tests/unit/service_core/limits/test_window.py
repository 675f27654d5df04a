"""The sliding window, by a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from service_core.limits.window import SLICES, Window

SECONDS = 60.0
SLICE = SECONDS / SLICES

steps = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40)), min_size=1, max_size=80)


@given(steps=steps, limit=st.integers(40, 120))
def test_no_minute_holds_more_than_the_limit_and_no_refusal_is_without_need(
    steps: list[tuple[float, int]], limit: int
) -> None:
    window, now = Window(SECONDS), 0.0
    granted: list[tuple[float, int]] = []
    for wait, amount in steps:
        now += wait
        last_minute = sum(counted for at, counted in granted if at > now - SECONDS)
        a_little_more = sum(counted for at, counted in granted if at > now - SECONDS - 2 * SLICE)
        if window.wait_for(amount, limit, now) == 0:
            assert last_minute + amount <= limit
            window.add(amount, now)
            granted.append((now, amount))
        else:
            assert a_little_more + amount > limit


@given(steps=steps, limit=st.integers(40, 120))
def test_after_the_wait_that_was_told_there_is_room(
    steps: list[tuple[float, int]], limit: int
) -> None:
    window, now = Window(SECONDS), 0.0
    for wait, amount in steps:
        now += wait
        told = window.wait_for(amount, limit, now)
        assert 0 <= told <= SECONDS + 2 * SLICE
        if told:
            now += told + 1e-6
            assert window.wait_for(amount, limit, now) == 0
        window.add(amount, now)


def test_what_is_taken_back_counts_no_more() -> None:
    window = Window(SECONDS)
    number = window.add(70, 1.0)
    window.add(20, 2.0)
    window.take_back(number, 70, 3.0)
    assert window.wait_for(80, 100, 3.0) == 0
    assert window.wait_for(81, 100, 3.0) > 0


def test_what_no_longer_counts_is_not_taken_back_once_more() -> None:
    window = Window(SECONDS)
    number = window.add(70, 1.0)
    window.add(20, 62.0)
    window.take_back(number, 70, 62.5)
    assert window.wait_for(80, 100, 62.5) == 0
    assert window.wait_for(81, 100, 62.5) > 0


def test_a_window_is_empty_once_all_has_left_it() -> None:
    window = Window(SECONDS)
    assert window.is_empty(0.0)
    window.add(1, 0.0)
    assert not window.is_empty(SECONDS)
    assert window.is_empty(SECONDS + 2 * SLICE)
