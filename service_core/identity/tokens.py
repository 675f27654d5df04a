"""Bearer tokens: made of 256 random bits, so that a plain hash is enough to keep them by."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

PREFIX = "cascada_"
"""What our tokens begin with, so that a scanner knows one where it should not be."""


def new_token() -> str:
    """A token that nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """The hash that stands in the configuration file."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer_of(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The token that a call brings; None for no `authorization`, "" for one of another form."""
    given = [value for key, value in metadata if key == "authorization"]
    if not given:
        return None
    if len(given) > 1 or not isinstance(given[0], str):
        return ""
    scheme, _, token = given[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def find(digest: str, known: Mapping[str, str]) -> str | None:
    """The name under which a digest is known, compared in constant time with each one there is.

    `known` maps names to digests.
    """
    found = None
    for name, other in known.items():
        if hmac.compare_digest(digest, other):
            found = name
    return found
