r"""Texts as PostgreSQL keeps them: it has no NUL, so two characters stand for it.

The order of code points stays what it is: "\0" becomes "\1\1" and "\1" becomes "\1\2", which
are both before "\2". Every text that is written, compared or read passes through here.
"""


def stored(text: str) -> str:
    """The text as it is written and compared; ValueError for one that UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text must not hold half of a surrogate pair") from None
    if "\0" in text or "\1" in text:
        return text.replace("\1", "\1\2").replace("\0", "\1\1")
    return text


def original(text: str) -> str:
    """The text that `stored` was given."""
    if "\1" in text:
        return text.replace("\1\1", "\0").replace("\1\2", "\1")
    return text
