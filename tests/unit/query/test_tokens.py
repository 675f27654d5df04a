from hypothesis import given
from hypothesis import strategies as st

from query.tokens import estimate_tokens


def test_nothing_is_no_token() -> None:
    assert estimate_tokens("") == 0


def test_three_bytes_are_a_token_and_a_rest_is_one_more() -> None:
    assert [estimate_tokens("a" * count) for count in (1, 3, 4)] == [1, 1, 2]


def test_a_chinese_character_is_a_token() -> None:
    assert estimate_tokens("巴黎是法国的首都") == 8


def test_half_a_surrogate_pair_is_counted_and_not_refused() -> None:
    assert estimate_tokens("\ud83d") == 1


@given(st.text(), st.text())
def test_a_longer_text_never_has_fewer_tokens(text: str, more: str) -> None:
    assert estimate_tokens(text) <= estimate_tokens(text + more)
