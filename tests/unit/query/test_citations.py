import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.citations import cited
from tests.unit.query.passages import passage

PASSAGES = [passage(name) for name in "abc"]


def marks(answer: str) -> dict[int, list[str]]:
    """The marks of each passage that is cited, as they stand in the answer."""
    return {
        number: [answer[start:end] for start, end in citation.spans]
        for number, citation in enumerate(cited(answer, PASSAGES), start=1)
        if citation.spans
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Madrid [1].", {1: ["[1]"]}),
        ("Madrid[1][2].", {1: ["[1]"], 2: ["[2]"]}),
        ("Madrid [1, 2].", {1: ["[1, 2]"], 2: ["[1, 2]"]}),
        ("Madrid [1,2,3].", {n: ["[1,2,3]"] for n in (1, 2, 3)}),
        ("Madrid [1; 3].", {1: ["[1; 3]"], 3: ["[1; 3]"]}),
        ("Madrid [1-3].", {n: ["[1-3]"] for n in (1, 2, 3)}),
        ("Madrid [2–3].", {2: ["[2–3]"], 3: ["[2–3]"]}),
        (
            "Madrid [1 and 3] [1 y 2].",
            {1: ["[1 and 3]", "[1 y 2]"], 2: ["[1 y 2]"], 3: ["[1 and 3]"]},
        ),
        ("Madrid 【1】.", {1: ["【1】"]}),
        ("Madrid 【1†L3-L5】【2†source】.", {1: ["【1†L3-L5】"], 2: ["【2†source】"]}),
        ("马德里［１］。", {1: ["［１］"]}),
        ("马德里〔1、2〕。", {1: ["〔1、2〕"], 2: ["〔1、2〕"]}),
        ("Madrid [^1].", {1: ["[^1]"]}),
        ("Madrid [ 1 ].", {1: ["[ 1 ]"]}),
        ("[1] y otra vez [1].", {1: ["[1]", "[1]"]}),
        ("[1, 1]", {1: ["[1, 1]"]}),
        ("[2](https://example.org)", {2: ["[2]"]}),
    ],
)
def test_each_form_of_a_mark_is_found(answer: str, expected: dict[int, list[str]]) -> None:
    assert marks(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Madrid.",
        "[4] [0] [00] [99999]",
        "[2024-2026]",
        "[-1]",
        "[1.5]",
        "[a] [] [ ] [1a]",
        "(1) {1} 1",
        "1]",
        "[1",
        "[[x]]",
        "use `rows[1]` here",
        "```\nrows[1] = rows[2]\n```",
        "~~~python\nrows[1]\n~~~",
        "```\nrows[1]",
    ],
)
def test_nothing_else_is_a_mark(answer: str) -> None:
    assert marks(answer) == {}


def test_a_number_that_no_passage_has_is_ignored_and_its_neighbours_are_not() -> None:
    assert marks("[1, 7] [3-9]") == {1: ["[1, 7]"], 3: ["[3-9]"]}


def test_a_mark_beside_code_is_found() -> None:
    assert marks("use `rows[1]` [2]\n```\nrows[1]\n```\n[3]") == {2: ["[2]"], 3: ["[3]"]}


def test_places_are_counted_in_code_points() -> None:
    [citation] = cited("España 🇪🇸 e\u0301 [1]", PASSAGES[:1])
    assert citation.spans == ((13, 16),)


def test_every_passage_is_a_citation_in_prompt_order_be_it_cited_or_not() -> None:
    found = cited("Madrid [2].", PASSAGES)
    assert [each.passage for each in found] == PASSAGES
    assert [each.spans for each in found] == [(), ((7, 10),), ()]


def test_without_passages_there_is_nothing_to_cite() -> None:
    assert cited("Madrid [1].", ()) == ()


@given(st.text(alphabet="[]【】 ,-–12†^`~\nx", max_size=200))
def test_whatever_is_written_every_place_is_a_mark_in_the_text(answer: str) -> None:
    for citation in cited(answer, PASSAGES):
        for start, end in citation.spans:
            assert answer[start] in "[［【〔"
            assert answer[end - 1] in "]］】〕"


def test_a_long_answer_of_nothing_but_beginnings_is_read_at_once() -> None:
    answer = "[1, " * 20_000 + "`" * 20_000 + "[1†" * 20_000
    assert marks(answer) == {}
