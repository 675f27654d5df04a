"""Bytes as text: plain text and Markdown."""

import codecs
import re

from query.extraction.model import Extracted, ExtractionError, checked
from query.sections import front_matter

# UTF-32 first: its mark begins as the one of UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAX_TITLE_CHARACTERS = 1000
_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)


def marked_encoding(content: bytes) -> str:
    """The encoding that a byte order mark names; "" without one."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), "")


def decode(content: bytes) -> str:
    """The text of a file in UTF-8, or in what its byte order mark names. ExtractionError."""
    encoding = marked_encoding(content) or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        wrong = "UTF-8" if encoding.startswith("utf-8") else "what its byte order mark says"
        raise ExtractionError(f"its bytes are not {wrong}: save it as UTF-8 text") from None
    if "\0" in text:
        raise ExtractionError("it is no text: it has NUL characters; save it as UTF-8 text")
    if not text.strip():
        raise ExtractionError("it has no text: leave it out")
    return text


def read_plain(content: bytes) -> Extracted:
    """A plain text as it is. ExtractionError."""
    return checked(Extracted(decode(content)))


def read_markdown(content: bytes) -> Extracted:
    """A Markdown text as it is. ExtractionError."""
    return checked(markdown(decode(content)))


def markdown(text: str) -> Extracted:
    """A Markdown text with the title that its front matter names."""
    named = _TITLE.search(front_matter(text))
    title = named[1].strip().strip("\"'").strip() if named else ""
    return Extracted(text, title[:_MAX_TITLE_CHARACTERS].rstrip(), markdown=True)
