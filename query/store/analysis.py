"""The words of a text as full text compares them, the same in every store, in every script.

A word is folded (case, compatibility forms, accents) and stemmed first as Spanish, then as English:
one term for the forms of a word in either language, without having to guess the language of a
passage or of a question. Scripts that are written without spaces become pairs of characters.
"""

import unicodedata
from functools import lru_cache

import regex
import Stemmer

from query.store.function_words import FUNCTION_WORDS

MAX_TERM_LENGTH = 128

_WORD = regex.compile(r"[\p{L}\p{N}\p{Co}][\p{L}\p{N}\p{M}\p{Co}]*")
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々]+"
)
# The accents of Latin, Greek and Cyrillic letters; the marks without which Arabic, Hebrew or the
# scripts of India are other words stay.
_ACCENTS = dict.fromkeys(range(0x300, 0x370))
_CACHED_WORDS = 100_000


def query_terms(text: str) -> list[str]:
    """The terms to search for: those of `text` but for function words, each once, in order.

    Function words match passages of the question's language, whatever they are about. A text that
    has no other word is searched for as it is.
    """
    asked = dict.fromkeys(terms(text))
    return [term for term in asked if term not in _FUNCTION_TERMS] or list(asked)


def terms(text: str) -> list[str]:
    """The terms of a text in order, repeated as often as they occur; none for a wordless one.

    A term has no space and at most 128 characters; everything that is not a letter, a digit or a
    mark of a letter separates.
    """
    found: list[str] = []
    for match in _WORD.finditer(unicodedata.normalize("NFKC", text).casefold()):
        word = match[0]
        if _UNSPACED.search(word):
            found += _of_unspaced(word)
        else:
            found.append(_stem(word[:MAX_TERM_LENGTH]))
    return found


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


@lru_cache(_CACHED_WORDS)
def _stem(word: str) -> str:
    # A stemmer keeps state of its own while it works, so that no two threads may share one.
    spanish: str = Stemmer.Stemmer("spanish", 0).stemWord(word)
    bare = unicodedata.normalize("NFD", spanish).translate(_ACCENTS)
    english: str = Stemmer.Stemmer("english", 0).stemWord(unicodedata.normalize("NFC", bare))
    return english


_FUNCTION_TERMS = frozenset(term for word in FUNCTION_WORDS for term in terms(word))
