"""Identities by signed token (JWT), verified against the keys of whoever issued it."""

from collections.abc import Iterable, Mapping
from typing import Any

import jwt

from config_core.identity import IdentityRules, IssuerEntry, KeySetOrigin, Role
from service_core.identity.caller import Caller
from service_core.identity.key_origins import key_set_of
from service_core.identity.key_set import KeySet

_LONGEST_TENANT = 128
_LONGEST_SUBJECT = 128
_OWN_NAMES: Mapping[str, Role] = {Role.CALLER: Role.CALLER, Role.INDEXER: Role.INDEXER}


class SignedTokens:
    """Verifies tokens; keeps the key sets of the issuers that were asked for."""

    def __init__(self) -> None:
        self._key_sets: dict[KeySetOrigin, KeySet] = {}

    async def caller_of(self, token: str, rules: IdentityRules) -> Caller | None:
        """Who the token stands for; None where anything about it is wrong."""
        try:
            header = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError):
            return None
        name, entry = _issuer(claimed.get("iss"), rules.issuers)
        algorithm, kid = header.get("alg"), header.get("kid")
        if entry is None or algorithm not in entry.algorithms:
            return None
        if kid is not None and not isinstance(kid, str):
            return None
        key = await self._keys(entry.jwks).find(kid, algorithm)
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key.key,
                # Of those that the operator allows; the key fits it, so that none is confused.
                algorithms=[algorithm],
                issuer=entry.issuer,
                audience=list(entry.audiences),
                leeway=entry.leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return _caller(name, entry, claims)

    async def aclose(self) -> None:
        """Ends what is under way."""
        for key_set in self._key_sets.values():
            await key_set.aclose()

    def _keys(self, origin: KeySetOrigin) -> KeySet:
        if origin not in self._key_sets:
            self._key_sets[origin] = key_set_of(origin)
        return self._key_sets[origin]


def _issuer(
    issuer: object, issuers: Mapping[str, IssuerEntry]
) -> tuple[str, IssuerEntry] | tuple[str, None]:
    for name, entry in issuers.items():
        if entry.issuer == issuer:
            return name, entry
    return "", None


def _caller(name: str, entry: IssuerEntry, claims: Mapping[str, Any]) -> Caller | None:
    roles = {*entry.roles, *_claimed_roles(entry, claims)}
    tenant = entry.tenant
    if entry.tenant_claim is not None:
        tenant = _tenant(claims.get(entry.tenant_claim))
        if tenant is not None and entry.tenants is not None and tenant not in entry.tenants:
            return None
    if not roles or (tenant is None and Role.SERVICE not in roles):
        return None
    subject = claims.get("sub")
    who = subject if isinstance(subject, str) and subject.isprintable() else "?"
    return Caller(f"issuer {name}: {who[:_LONGEST_SUBJECT]}", tenant, frozenset(roles))


def _tenant(value: object) -> str | None:
    if isinstance(value, str) and 1 <= len(value) <= _LONGEST_TENANT and value.isprintable():
        return value
    return None


def _claimed_roles(entry: IssuerEntry, claims: Mapping[str, Any]) -> Iterable[Role]:
    if entry.roles_claim is None:
        return ()
    value = claims.get(entry.roles_claim)
    words = value.split() if isinstance(value, str) else value
    names = entry.role_names or _OWN_NAMES
    if not isinstance(words, list):
        return ()
    return [names[word] for word in words if isinstance(word, str) and word in names]
