"""Cuts a text or Markdown document into chunks that an embedding model can take whole.

The cut follows the structure: a chunk never crosses a heading, keeps a paragraph whole where it
fits, else ends after a sentence. Only a sentence that is itself over the budget is cut between
words, and only such a word between characters, so scripts without spaces work too.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from query.sections import Section, sections
from query.visibility import is_visible

DEFAULT_TARGET_TOKENS = 256
DEFAULT_OVERLAP_SENTENCES = 1
MAX_CHUNK_CHARACTERS = 80_000
"""What blanks and control characters count towards, which are no tokens: no text that is embedded
may have more than 100,000."""

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_MARKS = ".!?…।؟۔"
_WIDE_MARKS = "。！？｡"
_SENTENCE_END = re.compile(
    # One class for whatever begins a match: the text is then skipped over to the next of these,
    # not tried at every character.
    rf"[{_MARKS}{_WIDE_MARKS}\n](?:"
    # Latin, Greek, Cyrillic, Devanagari, Arabic, Urdu: a space must follow. Only the first mark of
    # a row begins a match, lest a long row be read once for each of its marks.
    rf"""(?<=[{_MARKS}])(?<![{_MARKS}].)[{_MARKS}]*+["'»”’)\]]*+(?=\s)"""
    # Chinese and Japanese: none follows.
    rf"""|(?<=[{_WIDE_MARKS}])[{_WIDE_MARKS}]*[」』”’）]*"""
    # A list item, table row or quotation begins.
    r"""|(?<=\n)(?=[^\S\n]*(?:[-*+|>]|\d{1,9}[.)]))"""
    r")"
)
_WORD = re.compile(r"\S+")

_Span = tuple[int, int]
_Fits = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A piece of a document: `text` is exactly the document's characters `start` to `end`."""

    position: int
    """Index of the chunk in its document, from 0."""
    text: str
    start: int
    """Offset of the first character in the document, in code points."""
    end: int
    """Offset after the last character, in code points."""
    section: str
    """Headings above the chunk, outermost first; or the page where it begins; "" for neither."""


def chunk_text(
    text: str,
    measure: Callable[[int, int], int],
    *,
    target_tokens: int = DEFAULT_TARGET_TOKENS,
    overlap_sentences: int = DEFAULT_OVERLAP_SENTENCES,
    markdown: bool = True,
    pages: Sequence[int] = (),
) -> tuple[TextChunk, ...]:
    """The chunks of `text` in order; none for one without anything to see.

    Every visible character is in a chunk. `measure` tells the tokens of the characters from one
    offset to another; no chunk has more than `target_tokens`, save a single character that does so
    alone, or more than `MAX_CHUNK_CHARACTERS`. A chunk repeats up to `overlap_sentences` sentences
    of the one before it in the same section, as far as they fit. With `markdown`, headings make the
    sections; with `pages`, the offsets at which pages begin, a chunk's section is its first page.
    ValueError for a target below 1 or an overlap below 0.
    """
    if target_tokens < 1:
        raise ValueError("target_tokens must be at least 1")
    if overlap_sentences < 0:
        raise ValueError("overlap_sentences must not be negative")

    def fits(start: int, end: int) -> bool:
        return end - start <= MAX_CHUNK_CHARACTERS and measure(start, end) <= target_tokens

    chunks: list[TextChunk] = []
    for section in sections(text) if markdown else [Section("", 0, 0, len(text))]:
        paragraphs = [
            [
                piece
                for sentence in sentences
                for piece in ([sentence] if fits(*sentence) else _cut(text, sentence, fits))
            ]
            for sentences in _paragraphs(text, section)
        ]
        for start, end in _pack(paragraphs, fits, overlap_sentences):
            if is_visible(text[start:end]):
                name = f"page {bisect_right(pages, start)}" if pages else section.path
                chunks.append(TextChunk(len(chunks), text[start:end], start, end, name))
    return tuple(chunks)


def _paragraphs(text: str, section: Section) -> list[list[_Span]]:
    """Sentences by paragraph. The heading belongs to the first: it never stands alone."""
    paragraphs = [
        sentences
        for paragraph in _split(text, section.body, section.end, _BLANK_LINE)
        if (sentences := list(_split(text, *paragraph, _SENTENCE_END)))
    ]
    heading = list(_split(text, section.start, section.body, _BLANK_LINE))
    if paragraphs:
        paragraphs[0] = heading + paragraphs[0]
    elif heading:
        paragraphs = [heading]
    return paragraphs


def _split(text: str, start: int, end: int, boundary: re.Pattern[str]) -> Iterator[_Span]:
    """Spans between `boundary` matches, each with its match, stripped; blank ones left out."""
    stops = [match.end() for match in boundary.finditer(text, start, end)]
    for stop in (*stops, end):
        piece = text[start:stop]
        stripped = piece.strip()
        if stripped:
            first = start + len(piece) - len(piece.lstrip())
            yield first, first + len(stripped)
        start = stop


def _cut(text: str, sentence: _Span, fits: _Fits) -> Iterator[_Span]:
    """Pieces within the budget of a sentence over it: runs of words, else of characters."""
    words = [match.span() for match in _WORD.finditer(text, *sentence)]
    ends = [end for _, end in words]
    index = 0
    while index < len(words):
        start, end = words[index]
        taken = _most(ends, index, partial(fits, start))
        if taken:
            index += taken
            yield start, ends[index - 1]
            continue
        while start < end:
            stops = range(start + 1, end + 1)
            taken = _most(stops, 0, partial(fits, start))
            yield start, start + max(taken, 1)
            start += max(taken, 1)
        index += 1


def _most(stops: Sequence[int], first: int, fits: Callable[[int], bool]) -> int:
    """How many of `stops` from `first` on can be taken, by doubling steps and then halving."""
    low, step = first, 1
    while low < len(stops) and fits(stops[min(low + step, len(stops)) - 1]):
        low = min(low + step, len(stops))
        step *= 2
    high = min(low + step, len(stops))
    while high - low > 1:
        middle = (low + high) // 2
        if fits(stops[middle - 1]):
            low = middle
        else:
            high = middle
    return low - first


def _pack(paragraphs: Sequence[Sequence[_Span]], fits: _Fits, overlap: int) -> Iterator[_Span]:
    """Chunks of whole paragraphs where they fit, else of sentences, with the overlap before."""
    chunk: list[_Span] = []
    for paragraph in paragraphs:
        end = paragraph[-1][1]
        whole = fits(paragraph[0][0], end)
        for units in [paragraph] if whole else [[unit] for unit in paragraph]:
            if chunk and not fits(chunk[0][0], units[-1][1]):
                yield chunk[0][0], chunk[-1][1]
                chunk = chunk[-overlap:] if overlap else []
                while chunk and not fits(chunk[0][0], units[-1][1]):
                    del chunk[0]
            chunk.extend(units)
    if chunk:
        yield chunk[0][0], chunk[-1][1]
