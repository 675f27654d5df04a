"""Page tokens: the key of the last row shown, opaque to the caller."""

import base64
import binascii

from query.store.errors import InvalidPageTokenError


def token_after(listing: str, key: str) -> str:
    """The token that continues `listing` behind `key`."""
    return base64.urlsafe_b64encode(f"{listing}:{key}".encode()).decode("ascii")


def key_before(listing: str, token: str) -> str:
    """The key behind which `token` continues; "" (before every key) for the first page.

    Raises InvalidPageTokenError for a token that `token_after` did not make for this listing.
    """
    if not token:
        return ""
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise InvalidPageTokenError from error
    name, separator, key = text.partition(":")
    if name != listing or not separator or not key:
        raise InvalidPageTokenError
    return key
