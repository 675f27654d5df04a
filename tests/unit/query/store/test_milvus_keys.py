"""What stands for a caller's text in Milvus' expressions, analyzers and fields."""

import math
import re
from collections.abc import Callable

import pytest

from query.store.analysis import terms
from query.store.milvus.keys import (
    any_of,
    literal,
    number,
    ordered_key,
    short_key,
    tenant_key,
    text_of,
)
from query.store.milvus.pieces import lines, split
from query.store.milvus.words import WORDLESS, encoded
from query.store.testing.corpus import CRAFTED
from query.store.testing.isolation import INJECTED

TEXTS = [*dict.fromkeys((*CRAFTED, *INJECTED, '\\"', "\n", "\ud7ff", "\U0010ffff"))]


@pytest.mark.parametrize(
    "text", ['"', "'", "\\", "é", "\x00", "\n", " ", "A", 'a" or id != "', "-"]
)
def test_nothing_that_could_end_a_string_gets_into_an_expression(text: str) -> None:
    with pytest.raises(ValueError, match="only a key"):
        literal(text)
    with pytest.raises(ValueError, match="only a key"):
        any_of("document", ["a", text])


@pytest.mark.parametrize("make", [tenant_key, short_key, ordered_key])
def test_every_text_has_a_key_of_its_own_that_needs_no_quoting(make: Callable[[str], str]) -> None:
    keys = [make(text) for text in TEXTS]
    assert len(set(keys)) == len(TEXTS)
    assert all(re.fullmatch("[0-9a-f]*", key) for key in keys)
    assert literal(keys[0]) == f'"{keys[0]}"'


def test_ordered_keys_sort_as_their_texts_and_lead_back_to_them() -> None:
    assert sorted(TEXTS, key=ordered_key) == sorted(TEXTS)
    assert [text_of(ordered_key(text)) for text in TEXTS] == TEXTS


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3.0"), (-0.5, "-0.5"), (2**63 - 1, "9.223372036854776e+18"), (5e-324, "5e-324")],
)
def test_a_number_is_written_as_one(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        number(value)


@pytest.mark.parametrize("text", ["", "a", "é" * 10, "文書" * 9, "a📚" * 7, "x" * 25])
def test_pieces_fit_and_make_up_the_text(text: str) -> None:
    pieces = split(text, 8)
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= 8 for piece in pieces)
    assert len(pieces) <= 1 + len(text.encode()) // 5  # a character has at most four bytes


def test_lines_fit_and_hold_every_word_whole() -> None:
    words = ["a", "bcd", "efghij", "k", "l" * 8, "m"]
    found = lines(words, 8)
    assert " ".join(found).split() == words
    assert all(len(line) <= 8 for line in found)
    assert lines([]) == [""]


def test_encoded_terms_are_what_any_analyzer_takes_for_one_word() -> None:
    found = terms(
        "corazón Straße привет мир नमस्ते मुंबई بالعالم 東京タワー กรุงเทพ xx x1 abc123 ２ ½ ᾳ e\u0301x"
    )
    written = encoded(found)
    assert len(set(written)) == len(set(found))
    assert all(re.fullmatch("[0-9a-z]+", word) for word in written)
    assert WORDLESS not in written
    assert encoded(["abc123", "xa", "é"]) == ["abc123", "x7861", "xc3a9"]
