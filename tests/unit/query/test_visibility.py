import pytest

from query.visibility import is_visible


@pytest.mark.parametrize("text", ["x", " x", "\u200b.", "\u0301", "\ue000", "\U0001f600"])
def test_what_shows_anything_is_visible(text: str) -> None:
    assert is_visible(text)


@pytest.mark.parametrize("text", ["", " \n", "\u3000", "\x00", "\u200b\ufeff", "\u202e\u2066"])
def test_blanks_control_and_format_characters_are_not(text: str) -> None:
    assert not is_visible(text)


def test_what_shows_late_is_seen() -> None:
    unseen = "\u200b" * 1000
    assert is_visible(unseen + "x")
    assert not is_visible(unseen)
