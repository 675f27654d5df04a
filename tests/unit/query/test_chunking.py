import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.chunking import MAX_CHUNK_CHARACTERS, TextChunk, chunk_text
from query.tokens import TokenRuler

TEXTS = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            ["# A\n", "## B\n", "#\n", "```\n", "\n\n", "\r\n", "Uno dos. ", "¿Tres? ", "cuatro",
             " ", "- five\n", "六七。", "ไม่มีช่องว่าง", "x" * 40, "\u2028", "\x1c", "e\u0301",
             "===\n", "---\n", "\u200b", "\x02"]
        ),
        max_size=60,
    ).map("".join),
)  # fmt: skip


Measure = Callable[[int, int], int]


def words(text: str) -> Measure:
    return lambda start, end: len(re.findall(r"\w+|\S", text[start:end]))


def characters(_: str) -> Measure:
    return lambda start, end: end - start


def is_visible(character: str) -> bool:
    return not (character.isspace() or unicodedata.category(character) in {"Cc", "Cf"})


def chunks_of(text: str, target: int = 8, overlap: int = 0) -> tuple[TextChunk, ...]:
    return chunk_text(text, words(text), target_tokens=target, overlap_sentences=overlap)


def texts(text: str, target: int = 8, overlap: int = 0) -> list[str]:
    return [chunk.text for chunk in chunks_of(text, target, overlap)]


@given(
    text=TEXTS,
    target=st.integers(1, 40),
    overlap=st.integers(0, 3),
    markdown=st.booleans(),
)
@settings(max_examples=150)
def test_every_chunk_is_its_own_piece_of_the_text(
    text: str, target: int, overlap: int, *, markdown: bool
) -> None:
    chunks = chunk_text(
        text,
        characters(text),
        target_tokens=target,
        overlap_sentences=overlap,
        markdown=markdown,
    )
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)


@given(
    text=TEXTS,
    target=st.integers(1, 40),
    overlap=st.integers(0, 3),
    markdown=st.booleans(),
)
@settings(max_examples=150)
def test_every_visible_character_is_covered(
    text: str, target: int, overlap: int, *, markdown: bool
) -> None:
    chunks = chunk_text(
        text,
        characters(text),
        target_tokens=target,
        overlap_sentences=overlap,
        markdown=markdown,
    )
    covered = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
    assert {place for place, char in enumerate(text) if is_visible(char)} <= covered


@given(TEXTS, st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=150)
def test_no_chunk_is_over_the_budget(text: str, target: int, overlap: int) -> None:
    chunks = chunk_text(text, characters(text), target_tokens=target, overlap_sentences=overlap)
    assert all(len(chunk.text) <= target for chunk in chunks)


@given(TEXTS, st.integers(1, 40))
@settings(max_examples=100)
def test_without_overlap_no_character_is_in_two_chunks(text: str, target: int) -> None:
    chunks = chunk_text(text, characters(text), target_tokens=target, overlap_sentences=0)
    assert all(before.end <= after.start for before, after in pairwise(chunks))


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=50)
def test_it_ends_even_where_no_character_fits(text: str) -> None:
    chunks = chunk_text(text, lambda _start, _end: 99, target_tokens=1, overlap_sentences=2)
    assert all(len(chunk.text) == 1 for chunk in chunks)


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n"])
def test_a_blank_text_has_no_chunks(text: str) -> None:
    assert chunks_of(text) == ()


def test_a_paragraph_that_fits_is_kept_whole() -> None:
    assert texts("One two three.\n\nFour five. Six seven.") == [
        "One two three.",
        "Four five. Six seven.",
    ]


def test_short_paragraphs_share_a_chunk() -> None:
    assert texts("One.\n\nTwo.\n\nThree.") == ["One.\n\nTwo.\n\nThree."]


def test_a_long_paragraph_is_cut_after_sentences() -> None:
    assert texts("One two three. Four five six. Seven eight.") == [
        "One two three. Four five six.",
        "Seven eight.",
    ]


def test_a_long_sentence_is_cut_between_words() -> None:
    assert texts("a b c d e f g", target=3) == ["a b c", "d e f", "g"]


@pytest.mark.parametrize("filling", [" ", "\u200b", "\x01"])
def test_what_is_no_token_does_not_make_a_chunk_endless(filling: str) -> None:
    text = "one" + filling * (2 * MAX_CHUNK_CHARACTERS) + "two"
    chunks = chunk_text(text, TokenRuler(text), target_tokens=200)
    assert max(len(chunk.text) for chunk in chunks) <= MAX_CHUNK_CHARACTERS
    assert chunks[0].text.startswith("one")
    assert chunks[-1].text.endswith("two")


def test_a_long_word_is_cut_between_characters() -> None:
    text = "ab cdefghij k"
    chunks = chunk_text(text, characters(text), target_tokens=4)
    assert [chunk.text for chunk in chunks] == ["ab", "cdef", "ghij", "k"]


def test_a_script_without_spaces_is_cut_after_its_sentences() -> None:
    text = "東京は首都です。富士山は高い。"
    chunks = chunk_text(text, characters(text), target_tokens=9, overlap_sentences=0)
    assert [chunk.text for chunk in chunks] == ["東京は首都です。", "富士山は高い。"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A b. C d!?… E", ["A b.", "C d!?…", "E"]),
        ("A “b.” (C.)'\" D", ["A “b.”", "(C.)'\"", "D"]),
        ("A 1.5 b.c .d. E", ["A 1.5 b.c .d.", "E"]),
        ("... A .!", ["...", "A .!"]),
        ("क ख। ا ب؟ ج", ["क ख।", "ا ب؟", "ج"]),
        ("东。「京！？」西.南｡北", ["东。", "「京！？」", "西.南｡", "北"]),
        ("A.。B", ["A.。", "B"]),
        ("a\nb\n- c\n  12) d\n> e", ["a\nb", "- c", "12) d", "> e"]),
        ("a.\n- b", ["a.", "- b"]),
        ("a\n b.- c. d", ["a\n b.- c.", "d"]),
        ("1.2. a", ["1.2.", "a"]),
        ("a\n1234567890. b", ["a\n1234567890.", "b"]),
    ],
)
def test_a_sentence_ends_as_its_script_has_it(text: str, sentences: list[str]) -> None:
    chunks = chunk_text(
        text,
        lambda start, end: 1 if text[start:end] in sentences else 2,
        target_tokens=1,
        overlap_sentences=0,
        markdown=False,
    )
    assert [chunk.text for chunk in chunks] == sentences


def test_the_overlap_repeats_the_sentence_before() -> None:
    assert texts("A b. C d. E f. G h.", target=9, overlap=1) == [
        "A b. C d. E f.",
        "E f. G h.",
    ]


def test_the_overlap_gives_way_to_the_budget() -> None:
    assert texts("A b c d. E f g h i.", target=8, overlap=1) == ["A b c d.", "E f g h i."]


def test_the_overlap_stays_within_its_section() -> None:
    assert texts("# A\nOne.\n# B\nTwo.", target=50, overlap=1) == ["# A\nOne.", "# B\nTwo."]


def test_the_section_is_the_path_of_headings() -> None:
    chunks = chunks_of("Before.\n# A\nOne.\n## B ##\nTwo.\n# C\nThree.", target=50)
    assert [chunk.section for chunk in chunks] == ["", "A", "A > B", "C"]


def test_a_heading_goes_with_the_text_under_it() -> None:
    assert texts("# A\n\n## B\n\nOne two three. Four five six. Seven.", target=9) == [
        "# A\n\n## B\n\nOne two three.",
        "Four five six. Seven.",
    ]


def test_a_heading_inside_fenced_code_is_code() -> None:
    chunks = chunks_of("# A\n```\n# not a heading\n```\nText.", target=50)
    assert [chunk.section for chunk in chunks] == ["A"]


def test_plain_text_has_no_headings() -> None:
    text = "# A\nOne."
    chunks = chunk_text(text, words(text), markdown=False)
    assert [(chunk.section, chunk.text) for chunk in chunks] == [("", text)]


def test_a_chunk_is_of_the_page_where_it_begins() -> None:
    text = "One two three. Four.\n\nFive six.\n\nSeven eight nine ten."
    pages = (0, text.index("Five"), text.index("Seven"))
    chunks = chunk_text(
        text, words(text), target_tokens=5, overlap_sentences=0, markdown=False, pages=pages
    )
    assert [(chunk.section, chunk.text) for chunk in chunks] == [
        ("page 1", "One two three."),
        ("page 1", "Four.\n\nFive six."),
        ("page 3", "Seven eight nine ten."),
    ]


def test_a_page_without_text_is_counted() -> None:
    chunks = chunk_text("x", words("x"), markdown=False, pages=(0, 0, 0))
    assert [chunk.section for chunk in chunks] == ["page 3"]


@pytest.mark.parametrize("text", ["\u200b", "\x02\n\n\x03", "\u00ad \u200e"])
def test_what_can_not_be_seen_makes_no_chunk(text: str) -> None:
    assert chunks_of(text) == ()


def test_an_invisible_paragraph_leaves_no_hole_in_the_positions() -> None:
    chunks = chunks_of("One two three four.\n\n\u200b\n\nFive six seven eight.", target=5)
    assert [chunk.position for chunk in chunks] == [0, 1]


@pytest.mark.parametrize("text", ["." * 1_000_000, "# a" + " " * 200_000 + "b", "a.\n" * 50_000])
def test_a_hostile_text_takes_no_longer_than_its_length(text: str) -> None:
    # Whoever reads the rest of a row again for each of its marks would need hours.
    assert chunk_text(text, characters(text), target_tokens=1000)


def test_list_items_are_cut_apart_without_full_stops() -> None:
    assert texts("- one two three\n- four five six\n- seven", target=8) == [
        "- one two three\n- four five six",
        "- seven",
    ]


@pytest.mark.parametrize(("target", "overlap"), [(0, 0), (1, -1)])
def test_a_senseless_budget_is_refused(target: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="must"):
        chunks_of("x", target, overlap)
