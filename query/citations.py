"""The citations of an answer: its passages, and the places where the answer cites them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from query.retrieval import Found

Span = tuple[int, int]
"""The place of a mark in a text: its first character and the one behind its last."""

_MARK = re.compile(
    # What models write for [1]: brackets of any script, several numbers, and what some add behind
    # a number to point into the passage, as in 【1†L3-L5】.
    r"[\[［【〔]\s{0,3}\^?(\d{1,4}(?:\s{0,3}(?:[,;、，–-]|and|y|&)\s{0,3}\^?\d{1,4})*)"
    r"\s{0,3}(?:†[^\[\]［］【】〔〕\n]{0,80})?[\]］】〕]"
)
_NUMBERS = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_CODE = re.compile(r"(`{3,}|~{3,}).*?(?:\1|\Z)|(`+)[^`\n]+\2", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that an answer was given from, and the places in the answer that cite it."""

    passage: Found
    spans: tuple[Span, ...] = ()


def cited(answer: str, passages: Sequence[Found]) -> tuple[Citation, ...]:
    """The citations of the passages in prompt order: [n] in the answer cites the n-th.

    A mark with several numbers is a place of each. Numbers that no passage has are ignored, and so
    is code, in which brackets mean something else.
    """
    spans: dict[int, list[Span]] = {}
    code = [match.span() for match in _CODE.finditer(answer)]
    for mark in _MARK.finditer(answer):
        if any(begin <= mark.start() < end for begin, end in code):
            continue
        for number in dict.fromkeys(_numbers(mark[1], len(passages))):
            spans.setdefault(number, []).append(mark.span())
    return tuple(
        Citation(found, tuple(spans.get(number, ())))
        for number, found in enumerate(passages, start=1)
    )


def _numbers(marked: str, most: int) -> Iterator[int]:
    """The numbers of a mark, those of a range one by one."""
    for match in _NUMBERS.finditer(marked):
        first = int(match[1])
        last = int(match[2] or first)
        yield from range(max(1, first), min(last, most) + 1)
