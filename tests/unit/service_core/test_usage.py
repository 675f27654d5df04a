"""Counts of tokens stay within what a message can carry."""

import pytest

from service_core.usage import Usage, reported_tokens


@pytest.mark.parametrize("value", [-1, 0, 2**31, 10**30, 1.0, True, "3", None, [3]])
def test_what_can_not_be_a_count_is_none(value: object) -> None:
    assert reported_tokens(value) == 0


@pytest.mark.parametrize("value", [1, 2**31 - 1])
def test_a_count_is_taken(value: int) -> None:
    assert reported_tokens(value) == value


def test_a_sum_goes_no_further_than_a_message_can_carry() -> None:
    most = 2**31 - 1
    assert Usage(most, 1) + Usage(1, most) == Usage(most, most)
