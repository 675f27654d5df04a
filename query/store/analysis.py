"""The words of a text as full text compares them, the same in every store, in every script.

A word is folded (case, compatibility forms, accents) and stemmed as Spanish, as English and as
Spanish again: one term for the forms of a word in either language, without having to guess the
language of a passage or of a question. Scripts that are written without spaces become pairs of
characters.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import regex
import Stemmer

from query.store.function_words import FUNCTION_WORDS

MAX_TERM_LENGTH = 128

_WORD = regex.compile(r"[\p{L}\p{N}\p{Co}][\p{L}\p{N}\p{M}\p{Co}]*")
# The same in folded Latin text with its punctuation, in half the time.
_LATIN_WORD = re.compile(r"[0-9a-zß-öø-ɏ]+")
_NOT_LATIN = re.compile(r"[^\x00-ɏ\u2010-\u2027€]")
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々]+"
)
# What an apostrophe adds to an English word: "team's", "don't", "we'll".
_ENDING = regex.compile(r"(?<=\p{L})['’](?:s|t|d|m|ll|re|ve)(?![\p{L}\p{N}])")
# A number with its thousands marked: 1.000 and 1,250,000 are 1000 and 1250000.
_THOUSANDS = regex.compile(r"(?<![\p{L}\p{N}.,])\d{1,3}([.,])\d{3}(?:\1\d{3})*(?![\p{L}\p{N}])")
# The accents of Latin, Greek and Cyrillic letters; the marks without which Arabic, Hebrew or the
# scripts of India are other words stay.
_ACCENTS = dict.fromkeys(range(0x300, 0x370))
_DOUBLED = frozenset("bdgmnpt")
_CACHED_WORDS = 100_000


def query_terms(text: str) -> list[str]:
    """The terms to search for: those of `text` but for function words, each once, in order.

    Function words match passages of the question's language, whatever they are about. A text that
    has no other word is searched for as it is.
    """
    words = _words(text)
    telling = [word for word in words if word not in FUNCTION_WORDS]
    return list(dict.fromkeys(_terms(telling or words)))


def terms(text: str) -> list[str]:
    """The terms of a text in order, repeated as often as they occur; none for a wordless one.

    A term has no space and at most 128 characters; everything that is not a letter, a digit or a
    mark of a letter separates.
    """
    return _terms(_words(text))


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = _THOUSANDS.sub(_digits, _ENDING.sub("", folded))
    words: list[str] = (_WORD if _NOT_LATIN.search(folded) else _LATIN_WORD).findall(folded)
    return words


def _terms(words: Iterable[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        if not word.isascii() and _UNSPACED.search(word):
            found += _of_unspaced(word)
        else:
            found.append(_stem(word[:MAX_TERM_LENGTH]))
    return found


def _digits(number: regex.Match[str]) -> str:
    return number[0].replace(number[1], "")


def _of_unspaced(word: str) -> list[str]:
    found: list[str] = []
    end = 0
    for run in _UNSPACED.finditer(word):
        if before := word[end : run.start()]:
            found.append(_stem(before[:MAX_TERM_LENGTH]))
        characters = run[0]
        found += [characters[n : n + 2] for n in range(max(1, len(characters) - 1))]
        end = run.end()
    if after := word[end:]:
        found.append(_stem(after[:MAX_TERM_LENGTH]))
    return found


class _Stemmers(threading.local):
    """A stemmer keeps state of its own while it works, so that no two threads may share one."""

    def __init__(self) -> None:
        self._spanish = Stemmer.Stemmer("spanish", 0)
        self._english = Stemmer.Stemmer("english", 0)

    def spanish(self, word: str) -> str:
        stem: str = self._spanish.stemWord(word)
        return stem

    def english(self, word: str) -> str:
        stem: str = self._english.stemWord(word)
        return stem


_STEMMERS = _Stemmers()


@lru_cache(_CACHED_WORDS)
def _stem(word: str) -> str:
    # Spanish again, because English may have uncovered what the first pass would have taken off:
    # "server" loses its "er" at once, "servers" only after its "s".
    stem = _bare(_STEMMERS.spanish(word))
    stem = _bare(_STEMMERS.spanish(_STEMMERS.english(stem)))
    if stem.endswith("c"):
        return stem[:-1] + "z"  # luz, luces
    if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] in _DOUBLED:
        return stem[:-1]  # plan, planned
    return stem


stem_cache = _stem.cache_info
"""How the cache of stems is used."""


def _bare(word: str) -> str:
    without = unicodedata.normalize("NFD", word).translate(_ACCENTS)
    return unicodedata.normalize("NFC", without)
