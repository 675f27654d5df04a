"""Takes keys out of a provider's own words, also where it quotes a part of one, or masks it.

What an endpoint quotes may have no shape that is known: `token-abc123`, or the last eight
characters of a key. The call's own key is at hand, so that anything of it is found by comparing.
"""

import re
import string

from config_core.connection import Connection
from service_core.redaction import MASK, scrub
from service_core.upstream.translate_detail import MAX_REASON

_MAX_NAME = 256
_MOST_READ = 16_384
"""Characters of a text that are looked at: many more than are ever passed on."""
_RUN = 6
"""Characters of a key in a row that give it away; fewer may be a part of any word."""
_SHORTEST_END = 2
_LONGEST_END = 64
"""Characters on either side of what is hidden that are looked at."""

# What stands for the hidden part: sk-***4b5a, sk-…4b5a, sk-...4b5a, sk-xxxx4b5a.
_HIDDEN = re.compile(r"(?:[*•●…]|\.{3,}|[xX]{4,})+")
_IN_LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Which keeps the length, as `lower` does not."""
_OF_A_KEY = f"{string.ascii_letters}{string.digits}_-"
_KEY_BEGINS = ("sk-", "gsk_", "sk_", "pk-", "rk-")


def clean(connection: Connection, text: str, limit: int = MAX_REASON) -> str:
    """A provider's own text in one line, without the call's key or a part of it, or any key."""
    credential = connection.credential
    key = credential.key.get_secret_value() if credential else ""
    text = scrub(well_formed(text[:_MOST_READ]), [key])
    line = " ".join(_without_runs(_without_masked(text, key), key).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def well_formed(text: str) -> str:
    """The text as messages can carry it: with a mark in the place of half a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_usable(connection: Connection, name: str) -> bool:
    """Whether a provider's name for something is fit for traces: short, without the call's key."""
    return (
        name.isprintable() and len(name) <= _MAX_NAME and clean(connection, name, _MAX_NAME) == name
    )


def _without_masked(text: str, key: str) -> str:
    """The text without words that hide the middle of a key."""
    pieces = []
    done = 0
    for hidden in _HIDDEN.finditer(text):
        if hidden.start() < done:
            continue
        before = text[max(done, hidden.start() - _LONGEST_END) : hidden.start()]
        after = text[hidden.end() : hidden.end() + _LONGEST_END]
        beginning = before[len(before.rstrip(_OF_A_KEY)) :]
        end = after[: len(after) - len(after.lstrip(_OF_A_KEY))]
        if _is_of(key, beginning, end):
            pieces += [text[done : hidden.start() - len(beginning)], MASK]
            done = hidden.end() + len(end)
    return "".join([*pieces, text[done:]])


def _is_of(key: str, beginning: str, end: str) -> bool:
    """Whether what is left of a masked word is what this key, or any, begins or ends with."""
    key, beginning, end = (part.translate(_IN_LOWER_CASE) for part in (key, beginning, end))
    return (
        beginning.startswith(_KEY_BEGINS)
        or (len(beginning) >= _SHORTEST_END and key.startswith(beginning))
        or (len(end) >= _SHORTEST_END and key.endswith(end))
    )


def _without_runs(text: str, key: str) -> str:
    """The text without any run of characters that is in the key as well, in whichever case."""
    key, compared = key.translate(_IN_LOWER_CASE), text.translate(_IN_LOWER_CASE)
    if not any(compared[start : start + _RUN] in key for start in range(len(text) - _RUN + 1)):
        return text
    runs = {key[start : start + _RUN] for start in range(len(key) - _RUN + 1)}
    pieces = []
    done = start = 0
    while runs and start <= len(text) - _RUN:
        if compared[start : start + _RUN] not in runs:
            start += 1
            continue
        end = start + _RUN
        while end < len(text) and compared[end + 1 - _RUN : end + 1] in runs:
            end += 1
        pieces += [text[done:start], MASK]
        done = start = end
    return "".join([*pieces, text[done:]])
