"""Fingerprints: telling credentials apart without showing them."""

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
