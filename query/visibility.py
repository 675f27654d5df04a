"""Whether a text shows anything: no model embeds or answers one that does not."""

import unicodedata

_FIRST = 64
_UNSEEN = frozenset({"Cc", "Cf"})


def is_visible(text: str) -> bool:
    """Whether there is more than blanks, control and format characters."""
    # Most texts show something at once; of a long one that does not, each character is asked once.
    return any(map(_shows, text[:_FIRST])) or any(map(_shows, set(text[_FIRST:])))


def _shows(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) not in _UNSEEN
