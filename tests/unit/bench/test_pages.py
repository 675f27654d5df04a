"""What a measurement writes into a page."""

from pathlib import Path

import pytest
from rich.table import Table

from bench.pages import PERFORMANCE, RETRIEVAL, publish, stamp


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.md"
    text = "Before.\n<!-- a -->\nold\n<!-- end of a -->\nBetween.\n<!-- b -->\n<!-- end of b -->\n"
    file.write_text(text, encoding="utf-8")
    return file


def _table() -> Table:
    table = Table("what", title="Alone")
    table.add_column("ms", justify="right")
    table.add_row("resolution", "4.2")
    return table


def test_a_run_replaces_its_own_section_only(page: Path) -> None:
    publish(page, "a", _table())
    assert page.read_text(encoding="utf-8") == (
        "Before.\n<!-- a -->\n"
        f"Written by `make bench ARGS=a` on {stamp()}.\n\n"
        "Alone:\n\n| what | ms |\n| --- | --: |\n| resolution | 4.2 |\n"
        "<!-- end of a -->\nBetween.\n<!-- b -->\n<!-- end of b -->\n"
    )


def test_a_second_run_leaves_nothing_of_the_first(page: Path) -> None:
    publish(page, "b", _table(), _table())
    publish(page, "b", _table())
    assert page.read_text(encoding="utf-8").count("resolution") == 1


@pytest.mark.parametrize("line", ["<!-- a -->", "<!-- end of a -->"])
def test_a_page_without_the_marks_is_left_as_it_is(page: Path, line: str) -> None:
    without = page.read_text(encoding="utf-8").replace(line, "")
    page.write_text(without, encoding="utf-8")
    with pytest.raises(ValueError, match="<!-- end of a -->"):
        publish(page, "a", _table())
    assert page.read_text(encoding="utf-8") == without


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (PERFORMANCE, ("resolution", "indexing", "growth", "overload", "cancel", "cold_start")),
        (RETRIEVAL, ("evaluation", "retrieval-sqlite", "retrieval-postgresql")),
    ],
)
def test_the_pages_have_a_section_for_each_measurement(page: Path, names: tuple[str, ...]) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    for name in names:
        assert lines.index(f"<!-- {name} -->") < lines.index(f"<!-- end of {name} -->")
