import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.tokens import TokenRuler, estimate_tokens


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


# What multilingual-e5-small itself counts, without the five tokens of its prefix and marks.
COUNTED = {
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos.": 16,
    "Everyone is entitled to all the rights and freedoms set forth in this Declaration.": 17,
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.": 12,
    "Все люди рождаются свободными и равными в своем достоинстве и правах.": 16,
    "人人生而自由,在尊严和权利上一律平等。": 13,
    "| 2024 | 2.345.678,10 € | 10 | ES-0046-C |": 24,
    "for name, value in sorted(self._fields.items()):\n    yield f'{name}={value!r}'": 33,
}


@pytest.mark.parametrize("text", COUNTED, ids=lambda text: text[:12])
def test_a_ruler_measures_about_what_the_model_counts(text: str) -> None:
    measured = TokenRuler(text)(0, len(text))
    assert COUNTED[text] <= measured <= COUNTED[text] * 1.5


@given(st.text(), st.data())
def test_a_longer_part_never_measures_less(text: str, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    ruler = TokenRuler(text)
    assert 0 <= ruler(places[1], places[2]) <= ruler(places[0], places[3])


@given(st.text(min_size=1))
def test_whatever_can_be_seen_measures_something(text: str) -> None:
    visible = any(unicodedata.category(char)[0] not in "ZC" for char in text)
    assert (TokenRuler(text)(0, len(text)) > 0) >= visible


def test_half_a_surrogate_pair_is_measured_and_not_refused() -> None:
    assert TokenRuler("a\ud83db")(0, 3) >= 1


def test_nothing_measures_nothing() -> None:
    assert TokenRuler("")(0, 0) == 0
