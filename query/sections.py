"""The sections of a Markdown text: what stands under which headings."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SECTION_SEPARATOR = " > "
MAX_HEADING_CHARACTERS = 200
"""Of a heading in a path: each passage below it repeats the path."""

_HEADING = re.compile(r" {0,3}(#{1,6})(?=\s|$)")
_UNDERLINE = re.compile(r" {0,3}(=++|-++)\s*+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_FRONT_MATTER = re.compile(
    r"---[ \t]*\r?\n(?:(?![^\S\n]*\n).*\n){0,100}?(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)
# What begins a list item, a quotation, a table row or indented code is no heading's text.
_NO_TITLE = re.compile(r"\s*(?:[-*+>|]|\d{1,9}[.)]|$)| {4}|\t")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, or several in a row, with the text up to the next."""

    path: str
    """Headings above the text, outermost first, joined by `SECTION_SEPARATOR`; "" for none."""
    start: int
    body: int
    """Where the heading lines end."""
    end: int


def sections(text: str) -> Iterator[Section]:
    """Sections by heading; headings with nothing under them join the section that follows.

    A heading is a line that begins with `#`, or one alone that `===` or `---` underlines, outside
    fenced code and front matter.
    """
    path: list[tuple[int, str]] = []
    start = body = 0
    for heading in _headings(text):
        if text[body : heading.start].strip():
            yield Section(_join(path), start, body, heading.start)
            start = heading.start
        path = [(depth, title) for depth, title in path if depth < heading.level]
        path.append((heading.level, heading.title))
        body = heading.end
    if text[start:].strip():
        yield Section(_join(path), start, body, len(text))


def front_matter(text: str) -> str:
    """The lines between two `---` at the very beginning, with them; "" where there are none."""
    match = _FRONT_MATTER.match(text)
    return match[0] if match else ""


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    title: str
    start: int
    end: int


def _headings(text: str) -> Iterator[_Heading]:
    position = len(front_matter(text))
    fence = ""
    alone = True
    """Whether the line before the one before is blank, or no part of a paragraph."""
    before, before_at = "", position
    for line in text[position:].splitlines(keepends=True):
        end = position + len(line)
        mark = _FENCE.match(line)
        title = ""
        if fence:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
        elif mark:
            fence = mark[1]
        elif heading := _HEADING.match(line):
            yield _Heading(len(heading[1]), _title(line[heading.end() :]), position, end)
        elif before and alone and (underline := _UNDERLINE.fullmatch(line)):
            level = 1 if underline[1][0] == "=" else 2
            yield _Heading(level, _cut(before.strip()), before_at, end)
        elif not _NO_TITLE.match(line):
            title = line
        alone, before, before_at = not before, title, position
        position = end


def _title(line: str) -> str:
    """What follows the marks of a heading, without those that may close it."""
    title = line.strip()
    open_ = title.rstrip("#")
    return _cut(open_.rstrip() if not open_ or open_[-1] in " \t" else title)


def _cut(title: str) -> str:
    return title[:MAX_HEADING_CHARACTERS].rstrip()


def _join(path: Sequence[tuple[int, str]]) -> str:
    return SECTION_SEPARATOR.join(title for _, title in path if title)
