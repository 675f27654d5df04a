"""Writes Markdown from what a page holds, element by element, without ever looking back."""

import re
from collections.abc import Mapping

HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    {"address", "article", "aside", "body", "caption", "center", "dd", "details", "div", "dl", "dt"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html", "li"}
    | {"legend", "main", "nav", "ol", "p", "search", "section", "summary", "table", "tbody", "td"}
    | {"tfoot", "th", "thead", "tr", "ul", "blockquote", "pre", *HEADINGS}
)
_CODE = frozenset({"code", "kbd", "samp"})
_ANCHORS = frozenset({"", "#", "¶", "§", "🔗"})
_DEEPEST_INDENT = 8
_MOST_COLUMNS = 64

_BLANKS = re.compile(r"\s+")
_FENCES = re.compile(r"`{3,}")
# Ordinary text at the beginning of a line that would be read as a heading or as a fence.
_MARK = re.compile(r"^(?=#{1,6}(?:\s|$)|```|~~~)", re.MULTILINE)

Attributes = Mapping[str, str | None]


class MarkdownWriter:
    """Keeps headings, lists, quotations, tables and code; emphasis and links lose their marks."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._inline: list[str] = []
        self._spans: list[int] = []
        """Where in `_inline` the open spans of code, and links, begin."""
        self._lists: list[int | None] = []
        """The open lists: the number of the last item, None where items have none."""
        self._marker = ""
        """Of the item whose first block is still to come."""
        self._listing = False
        """Whether the block before belongs to a list, so that the next item follows at once."""
        self._quotes = 0
        self._language: str | None = None
        """Of the open block of code; None outside of one."""
        self._rows: list[list[str]] | None = None
        self._in_cell = False
        self.characters = 0
        """How long the text is, at least."""

    @property
    def markdown(self) -> str:
        """Everything so far."""
        return "".join(self._parts)

    def text(self, text: str) -> None:
        """Add a piece of text."""
        self._inline.append(text if self._language is not None else _BLANKS.sub(" ", text))

    def open(self, tag: str, attributes: Attributes, *, grid: bool = False) -> None:
        """Begin an element; `grid` says of a table that it holds data, not a layout."""
        if tag in _BLOCKS:
            self._end_block()
        if tag in _CODE or tag == "a":
            self._spans.append(len(self._inline))
            if self._language == "":
                self._language = _language(attributes)
        elif tag == "br":
            self._inline.append("\n")
        elif tag == "q":
            self._inline.append('"')
        elif tag == "img":
            self._inline.append(f" {_BLANKS.sub(' ', attributes.get('alt') or '')} ")
        elif tag == "pre":
            self._language = _language(attributes)
        elif self._rows is not None:
            self._open_in_table(tag)
        elif tag == "table" and grid:
            self._rows = []
        else:
            self._open_block(tag, attributes)

    def close(self, tag: str, attributes: Attributes) -> None:
        """End an element."""
        if tag in _CODE or tag == "a":
            self._close_span(tag, self._spans.pop())
        elif tag == "q":
            self._inline.append('"')
        elif tag == "pre":
            self._close_code()
        elif tag in HEADINGS and not self._in_cell:
            if title := self._take().replace("\n", " "):
                self._add(f"{'#' * HEADINGS[tag]} {title}", plain=True)
        elif self._rows is not None:
            self._close_in_table(tag, attributes)
        else:
            if tag in _BLOCKS:
                self._end_block()
            self._close_block(tag)

    def _open_block(self, tag: str, attributes: Attributes) -> None:
        if tag == "ul":
            self._lists.append(None)
        elif tag == "ol":
            start = attributes.get("start") or ""
            self._lists.append(int(start) - 1 if start.isdecimal() and len(start) < 10 else 0)
        elif tag == "li":
            self._marker = "- "
            if self._lists and (number := self._lists[-1]) is not None:
                self._lists[-1] = number + 1
                self._marker = f"{number + 1}. "
        elif tag == "dd":
            self._marker = ": "
        elif tag == "blockquote":
            self._quotes += 1

    def _close_block(self, tag: str) -> None:
        if tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
            self._listing = bool(self._lists)
        elif tag in {"li", "dd"}:
            self._marker = ""
        elif tag == "blockquote":
            self._quotes -= 1

    def _open_in_table(self, tag: str) -> None:
        if self._in_cell:
            return
        if tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._inline.clear()
            self._in_cell = True

    def _close_in_table(self, tag: str, attributes: Attributes) -> None:
        rows = self._rows or []
        if tag in {"td", "th"} and rows:
            self._in_cell = False
            span = attributes.get("colspan") or ""
            width = int(span) if span.isdecimal() and len(span) < 3 else 1
            rows[-1] += [self._take().replace("\n", " ").replace("|", "\\|")]
            rows[-1] += [""] * (min(width, _MOST_COLUMNS) - 1)
        elif tag == "caption":
            self._end_block()
        elif tag == "table" and not self._in_cell:
            self._rows = None
            self._add_table([row for row in rows if any(row)])

    def _add_table(self, rows: list[list[str]]) -> None:
        columns = max(map(len, rows), default=0)
        if columns == 1 or len(rows) == 1:
            for row in rows:
                self._add(" | ".join(filter(None, row)))
        elif rows:
            full = [row + [""] * (columns - len(row)) for row in rows]
            full.insert(1, ["---"] * columns)
            self._add("\n".join(f"| {' | '.join(row)} |" for row in full))

    def _close_span(self, tag: str, begin: int) -> None:
        if begin > len(self._inline) or self._language is not None:
            return  # a block began inside of it
        inside = "".join(self._inline[begin:])
        text = inside.strip()
        if tag == "a":
            if text in _ANCHORS:
                del self._inline[begin:]
        elif text and "`" not in text:
            self._inline[begin:] = [inside.replace(text, f"`{text}`", 1)]

    def _close_code(self) -> None:
        code, language = "".join(self._inline).strip("\n").rstrip(), self._language
        self._language = None
        if self._in_cell:
            self._inline = [_BLANKS.sub(" ", code)]
            return
        self._inline.clear()
        if code:
            longest = max(map(len, _FENCES.findall(code)), default=2)
            fence = "`" * (longest + 1)
            self._add(f"{fence}{language}\n{code}\n{fence}", plain=True)

    def _end_block(self) -> None:
        if self._language is not None:
            if self._inline and not self._inline[-1].endswith("\n"):
                self._inline.append("\n")
        elif self._in_cell:
            self._inline.append(" ")
        elif text := self._take():
            self._add(_MARK.sub(r"\\", text))

    def _take(self) -> str:
        """The text since the last block, one line for each that was broken by hand."""
        lines = [" ".join(line.split()) for line in "".join(self._inline).split("\n")]
        self._inline.clear()
        return "\n".join(filter(None, lines))

    def _add(self, text: str, *, plain: bool = False) -> None:
        """Write a block; a `plain` one, such as a heading, stands outside of lists."""
        first = rest = ""
        if not plain:
            indent = "> " * self._quotes
            indent += "  " * (min(len(self._lists), _DEEPEST_INDENT) - 1)
            first = indent + (self._marker or "  " * bool(self._lists))
            rest = indent + "  " * bool(self._lists or self._marker)
        if self._parts:
            self._parts.append("\n" if self._marker and self._listing and not plain else "\n\n")
        block = first + text.replace("\n", "\n" + rest)
        self._parts.append(block)
        self.characters += len(block)
        self._listing = not plain and bool(self._lists or self._marker)
        self._marker = "" if not plain else self._marker


def _language(attributes: Attributes) -> str:
    for name in (attributes.get("class") or "").split():
        for prefix in ("language-", "lang-"):
            if name.startswith(prefix) and name.removeprefix(prefix).isalnum():
                return name.removeprefix(prefix)
    return ""
