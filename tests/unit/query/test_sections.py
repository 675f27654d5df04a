import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.sections import front_matter, sections


def paths(text: str) -> list[str]:
    return [section.path for section in sections(text)]


def bodies(text: str) -> list[str]:
    return [text[section.body : section.end].strip() for section in sections(text)]


@given(st.text(alphabet="#=-~` ab\n\r\t.", max_size=80))
def test_sections_follow_one_another_and_leave_nothing_visible_out(text: str) -> None:
    end = 0
    for section in sections(text):
        assert not text[end : section.start].strip()
        assert section.start <= section.body <= section.end
        end = section.end
    assert not text[end:].strip()


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# A", "A"),
        ("   ###### A b ", "A b"),
        ("# A ##", "A"),
        ("# A#", "A#"),
        ("#\tA #\t##", "A #"),
        ("# C# #", "C#"),
    ],
)
def test_a_heading_begins_with_its_marks_and_may_end_with_some(line: str, title: str) -> None:
    assert paths(f"{line}\nx") == [title]


@pytest.mark.parametrize("line", ["#A", "    # A", "####### A", "\\# A", "-# A"])
def test_other_lines_are_text(line: str) -> None:
    assert paths(f"{line}\nx") == [""]


@pytest.mark.parametrize("text", ["# {}\nx", "{}\n===\nx"])
def test_a_long_heading_names_its_section_by_its_beginning(text: str) -> None:
    assert paths(text.format("é" * 199 + " " + "é" * 5000)) == ["é" * 199]


def test_a_heading_without_a_title_ends_the_section_before_it() -> None:
    assert paths("# A\na\n#\nb") == ["A", ""]
    assert paths("# A\na\n##\nb") == ["A", "A"]


def test_a_line_may_be_underlined() -> None:
    assert paths("Intro\n=====\na\n\n Sub \n---\nb\n\n# C\nc") == ["Intro", "Intro > Sub", "C"]
    assert bodies("Intro\n=====\na") == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo\n---\nx",  # a paragraph, then a rule
        "- item\n---\nx",
        "1. item\n---\nx",
        "> quoted\n---\nx",
        "| a | b |\n---\nx",
        "a | b\n--- | ---\nx",
        "    code\n---\nx",
        "\n---\nx",
        "```\na\n---\n```\nx",
        "a\n=-=\nx",
    ],
)
def test_what_is_no_lone_line_is_not_underlined(text: str) -> None:
    assert paths(text) == [""]


def test_front_matter_has_no_headings() -> None:
    text = "---\ntitle: a\n# no\nb: c\n---\n# A\nx"
    assert front_matter(text) == "---\ntitle: a\n# no\nb: c\n---\n"
    assert paths(text) == ["", "A"]


@pytest.mark.parametrize(
    "text",
    ["", "a\n---\nb\n---\n", "---\n\na\n---\n", "---\na: b\n", "---\n" + "a: b\n" * 101 + "---\n"],
    ids=["nothing", "later", "a rule", "open", "too long"],
)
def test_other_texts_have_no_front_matter(text: str) -> None:
    assert front_matter(text) == ""
