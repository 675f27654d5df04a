"""What is read from a file, and why one can't be read."""

from dataclasses import dataclass
from enum import StrEnum

MAX_CHARACTERS = 2_000_000
"""The longest text of a document."""


class MediaType(StrEnum):
    """The kinds of files that are read."""

    PLAIN = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    PDF = "application/pdf"


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file; offsets into a document are offsets into it."""

    text: str
    title: str = ""
    """What the file calls itself; "" where it does not."""
    markdown: bool = False
    """Whether headings of the text are marked as in Markdown."""
    pages: tuple[int, ...] = ()
    """The offsets at which pages begin; none for a text without pages."""


class ExtractionError(Exception):
    """The file can't be read; the message says why and what to do, after "can't be indexed:"."""


def checked(extracted: Extracted) -> Extracted:
    """The same, if its text is within the limit; else ExtractionError."""
    if len(extracted.text) > MAX_CHARACTERS:
        raise ExtractionError(f"its text has more than {MAX_CHARACTERS:,} characters: split it")
    return extracted
