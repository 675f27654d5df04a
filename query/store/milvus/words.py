"""The terms of full text as Milvus' analyzer leaves them: ASCII letters and digits.

Milvus and its small server split and fold text each in their own way, and break words of other
scripts at their marks. They agree on lower-case ASCII, so a term that has anything else is written
in hexadecimal digits behind an `x`, with which no plain one begins.
"""

import re
from collections.abc import Iterable

ANALYZER = {"tokenizer": "standard"}

WORDLESS = "xx"
"""Stands where a text has no term, since not every server takes an empty one; no term is this."""

_PLAIN = re.compile(r"[0-9a-wyz][0-9a-z]*", re.ASCII)


def encoded(terms: Iterable[str]) -> list[str]:
    """The terms in the same order, different ones still different, as the analyzer keeps them."""
    return [term if _PLAIN.fullmatch(term) else f"x{term.encode().hex()}" for term in terms]
