"""The character encoding of an HTML page, as browsers find it."""

import codecs
import re

from query.extraction.model import ExtractionError
from query.extraction.text import marked_encoding

_HEAD_BYTES = 4096
_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)\b[^>]*?\b(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)

# What pages are written in: no codec of another kind, some of which are slow or no text encodings.
_ENCODINGS = frozenset(
    {"utf-8", "ascii", "koi8-r", "koi8-u", "mac-roman", "mac-cyrillic", "gbk", "gb18030", "gb2312"}
    | {"big5", "big5hkscs", "euc_jp", "iso2022_jp", "shift_jis", "cp932", "euc_kr", "cp949"}
    | {f"cp{number}" for number in (866, 874, *range(1250, 1259))}
    | {f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))}
    | {"tis-620"}
)
# Western pages mean Windows' superset, whatever they say.
_SUPERSETS = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gbk", "tis-620": "cp874"}


def decode_page(content: bytes) -> str:
    """The text of a page: by its byte order mark, by what it declares, else as UTF-8.

    ExtractionError where none of them fits.
    """
    if encoding := marked_encoding(content):
        return content.decode(encoding, "replace")
    if encoding := _declared(content):
        return content.decode(encoding, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ExtractionError(
            "its character encoding is not known: declare it with <meta charset>, or save the page "
            "as UTF-8"
        ) from None


def _declared(content: bytes) -> str:
    """The encoding that the page names, if pages are written in it; "" otherwise."""
    match = _DECLARED.search(content[:_HEAD_BYTES])
    if match is None:
        return ""
    name = match[1].decode("ascii", "replace").lower()
    if name.startswith("utf-16"):
        return "utf-8"  # the declaration could not be read if it were true
    try:
        known = codecs.lookup(name).name
    except LookupError:
        return ""
    return _SUPERSETS.get(known, known) if known in _ENCODINGS else ""
