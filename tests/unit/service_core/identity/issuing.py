"""An issuer of signed tokens, as an identity provider would be one."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

ISSUER = "https://id.example"
AUDIENCE = "cascada"

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_MAKERS = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_ENCODERS = {
    "ES256": jwt.algorithms.ECAlgorithm,
    "RS256": jwt.algorithms.RSAAlgorithm,
    "PS256": jwt.algorithms.RSAAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


@dataclass
class SigningKey:
    """One key pair of an issuer."""

    kid: str | None = "first"
    algorithm: str = "ES256"
    private: Any = field(init=False)

    def __post_init__(self) -> None:
        self.private = _MAKERS[self.algorithm]()

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as a set holds it."""
        public = self.private.public_key()
        entry: dict[str, Any] = _ENCODERS[self.algorithm].to_jwk(public, as_dict=True)  # type: ignore[attr-defined] # all have it
        return entry if self.kid is None else {**entry, "kid": self.kid}

    @property
    def public_pem(self) -> bytes:
        """The public key as everybody can have it."""
        public = self.private.public_key()
        pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    @property
    def private_pem(self) -> bytes:
        """The private key."""
        pem: bytes = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem

    def token(self, *, without: tuple[str, ...] = (), **claims: Any) -> str:
        """A good token but for the claims that are given or left out."""
        now = int(time.time())
        every = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": now + 7200,  # a run of all tests takes its time
            "nbf": now - 1,
            "iat": now - 1,
            "sub": "alice",
            "org": "acme",
            "roles": ["caller"],
            **claims,
        }
        kept = {name: value for name, value in every.items() if name not in without}
        headers = {"typ": "JWT"} if self.kid is None else {"typ": "JWT", "kid": self.kid}
        # Not jwt.encode, which refuses to make some of the wrong ones.
        body = json.dumps(kept).encode()
        return jwt.PyJWS().encode(body, self.private, algorithm=self.algorithm, headers=headers)


def key_set(*keys: SigningKey) -> str:
    """The document that an issuer publishes."""
    return json.dumps({"keys": [key.jwk for key in keys]})
