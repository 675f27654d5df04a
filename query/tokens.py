"""Estimates of tokens, for texts whose model's tokenizer is not at hand.

`estimate_tokens` is for prompts: rather too many than too few for prose, whatever the model.
`TokenRuler` is for passages: it follows the vocabulary of XLM-RoBERTa, which multilingual-e5-small
has, within about a tenth in prose, tables, code and numbers alike. Its weights were fitted to that
model's own counts in 24 languages.
"""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

BYTES_PER_TOKEN = 3

_SPACE, _LOWER, _UPPER, _DIGIT, _SIGN, _SYMBOL = range(6)
_HAN, _KANA, _HANGUL, _SOUTH_EAST_ASIAN, _SEMITIC, _LETTER = range(6, 12)

# In hundredths of a token: what each character adds, and what the first of a run adds besides.
_EACH = np.array([0, 21, 30, 40, 105, 130, 70, 45, 70, 33, 44, 25], np.int64)
_FIRST = np.array([0, 35, 55, 110, 0, 0, 0, 0, 0, 0, 0, 25], np.int64)

_SCRIPTS = (
    (0x0590, 0x08FF, _SEMITIC),
    (0x0E00, 0x0EFF, _SOUTH_EAST_ASIAN),
    (0x1000, 0x109F, _SOUTH_EAST_ASIAN),
    (0x1100, 0x11FF, _HANGUL),
    (0x1780, 0x17FF, _SOUTH_EAST_ASIAN),
    (0x3041, 0x30FF, _KANA),
    (0x3105, 0x312F, _HAN),
    (0x3130, 0x318F, _HANGUL),
    (0x31F0, 0x31FF, _KANA),
    (0x3400, 0x9FFF, _HAN),
    (0xAC00, 0xD7FF, _HANGUL),
    (0xF900, 0xFAFF, _HAN),
)
_PLANE = 0x10000
_IDEOGRAPHS = range(0x20000, 0x40000)


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has; rather too many than too few for prose in any script."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


class TokenRuler:
    """Measures any part of one text, at the same small cost however long the part is."""

    def __init__(self, text: str) -> None:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = _kinds()[np.minimum(codes, _PLANE)]
        kinds[(codes >= _IDEOGRAPHS.start) & (codes < _IDEOGRAPHS.stop)] = _HAN
        before = np.concatenate(([np.uint8(_SPACE)], kinds))[:-1]
        # A capital letter and the small ones behind it are one word.
        first = (kinds != before) & ~((kinds == _LOWER) & (before == _UPPER))
        weights = _EACH[kinds] + _FIRST[kinds] * first
        # An array of numpy would give numbers of its own, which are ten times slower to subtract.
        self._sums = memoryview(np.concatenate(([0], np.cumsum(weights))).data)

    def __call__(self, start: int, end: int) -> int:
        """About how many tokens the characters `start` to `end` are; never less for more text."""
        sums = self._sums
        return -((sums[start] - sums[end]) // 100)


@cache
def _kinds() -> NDArray[np.uint8]:
    """The kind of each character of the first plane, and last the one of all others."""
    kinds = np.full(_PLANE + 1, _SYMBOL, np.uint8)
    for code in range(_PLANE):
        kinds[code] = _kind(code, unicodedata.category(chr(code)))
    for first, last, kind in _SCRIPTS:
        part = kinds[first : last + 1]
        part[part == _LETTER] = kind
    return kinds


def _kind(code: int, category: str) -> int:
    if category[0] in "LM":
        latin = code < 0x370 or 0x1E00 <= code < 0x1F00
        if not latin:
            return _LETTER
        return _UPPER if category == "Lu" else _LOWER
    if category[0] == "N":
        return _DIGIT
    if category[0] in "ZC":
        return _SPACE
    return _SIGN if code < 0x80 else _SYMBOL
