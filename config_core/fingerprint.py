"""Telling credentials apart without showing them: fingerprints, and comparing in constant time."""

import hashlib
import hmac

from pydantic import SecretStr

LENGTH = 12
"""Hex digits of a fingerprint."""


def fingerprint(credential: SecretStr, key: SecretStr) -> str:
    """A short keyed hash; equal for equal credentials under the same key, and nothing else."""
    digest = hmac.new(
        key.get_secret_value().encode(), credential.get_secret_value().encode(), hashlib.sha256
    )
    return digest.hexdigest()[:LENGTH]


def same_secret(one: SecretStr | None, other: SecretStr | None) -> bool:
    """Whether two secrets are equal, or both absent; how alike they are shows in no time."""
    if one is None or other is None:
        return one is other
    return hmac.compare_digest(one.get_secret_value().encode(), other.get_secret_value().encode())
