"""Signed tokens: what is taken, and everything that must not be."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
import structlog

from config_core.file_reader import parse
from config_core.identity import IdentityRules, Role
from service_core.identity.caller import Caller
from service_core.identity.signed_tokens import SignedTokens
from tests.unit.service_core.identity.issuing import AUDIENCE, ISSUER, SigningKey, key_set

KEY = SigningKey()


def rules(path: Path, **entry: Any) -> IdentityRules:
    issuer = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "jwks": {"file": str(path)},
        "tenant_claim": "org",
        "roles_claim": "roles",
        "leeway_seconds": 5,
        **entry,
    }
    found = parse({"identity": {"issuers": {"corp": issuer}}}, "test").identity
    assert found is not None
    return found


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(key_set(KEY), encoding="utf-8")
    return path


async def caller(token: str, path: Path, **entry: Any) -> Caller | None:
    signed = SignedTokens()
    try:
        return await signed.caller_of(token, rules(path, **entry))
    finally:
        await signed.aclose()


async def test_a_good_token_is_its_subject_with_tenant_and_roles(keys: Path) -> None:
    assert await caller(KEY.token(), keys) == Caller(
        "issuer corp: alice", "acme", frozenset({Role.CALLER})
    )


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
async def test_each_algorithm_of_the_default_is_verified(algorithm: str, tmp_path: Path) -> None:
    key = SigningKey(algorithm=algorithm)
    path = tmp_path / "keys.json"
    path.write_text(key_set(key), encoding="utf-8")
    assert await caller(key.token(), path)
    stranger = SigningKey(algorithm=algorithm)
    assert await caller(stranger.token(), path) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"exp": "soon"},
        {"nbf": int(time.time()) + 3600},
        {"iss": "https://other.example"},
        {"iss": ["https://id.example"]},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": []},
        {"org": ""},
        {"org": "x" * 129},
        {"org": "a\nb"},
        {"org": ["acme"]},
        {"roles": []},
        {"roles": ["admin"]},
        {"roles": {"caller": True}},
    ],
)
async def test_a_wrong_claim_makes_it_nobodys(claims: dict[str, Any], keys: Path) -> None:
    assert await caller(KEY.token(**claims), keys) is None


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "org", "roles"])
async def test_a_missing_claim_makes_it_nobodys(claim: str, keys: Path) -> None:
    assert await caller(KEY.token(without=(claim,)), keys) is None


async def test_the_clocks_may_differ_by_the_leeway_and_no_more(keys: Path) -> None:
    assert await caller(KEY.token(exp=int(time.time()) - 3), keys)
    assert await caller(KEY.token(exp=int(time.time()) - 3), keys, leeway_seconds=0) is None


async def test_a_token_for_several_audiences_is_for_this_one_too(keys: Path) -> None:
    assert await caller(KEY.token(aud=["other", AUDIENCE]), keys)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _claims() -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(KEY.token(), options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
async def test_an_unsigned_token_is_nobodys(algorithm: str, keys: Path) -> None:
    head = _part({"alg": algorithm, "typ": "JWT", "kid": "first"})
    assert await caller(f"{head}.{_part(_claims())}.", keys) is None


async def test_the_public_key_is_no_shared_secret(keys: Path) -> None:
    head = _part({"alg": "HS256", "typ": "JWT", "kid": "first"})
    signed = f"{head}.{_part(_claims())}"
    mac = hmac.new(KEY.public_pem, signed.encode(), hashlib.sha256).digest()
    token = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert await caller(token, keys) is None


async def test_an_algorithm_that_the_operator_leaves_out_is_not_taken(keys: Path) -> None:
    assert await caller(KEY.token(), keys, algorithms=["RS256", "EdDSA"]) is None


async def test_a_changed_token_is_nobodys(keys: Path) -> None:
    head, _, signature = KEY.token().split(".")
    claims = {**_claims(), "org": "another"}
    assert await caller(f"{head}.{_part(claims)}.{signature}", keys) is None


@pytest.mark.parametrize(
    "token", ["", "..", "a.b.c", "eyJhbGciOiJFUzI1NiJ9..", "\x00.\x00.\x00", "é.é.é", "." * 5000]
)
async def test_what_is_no_token_is_nobodys(token: str, keys: Path) -> None:
    assert await caller(token, keys) is None


async def test_a_token_without_a_key_id_is_verified_where_there_is_one_key_only(
    tmp_path: Path,
) -> None:
    nameless = SigningKey(kid=None)
    path = tmp_path / "keys.json"
    path.write_text(key_set(nameless), encoding="utf-8")
    assert await caller(nameless.token(), path)
    path.write_text(key_set(nameless, KEY), encoding="utf-8")
    assert await caller(nameless.token(), path) is None


async def test_an_unknown_key_id_is_nobodys_even_where_the_key_is_known(keys: Path) -> None:
    renamed = SigningKey(kid="second")
    renamed.private = KEY.private
    assert await caller(renamed.token(), keys) is None


async def test_a_private_or_shared_key_in_the_set_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.private))
    path.write_text(json.dumps({"keys": [{**private, "kid": "first"}]}), encoding="utf-8")
    assert await caller(KEY.token(), path) is None
    path.write_text(
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}), encoding="utf-8"
    )
    assert await caller(KEY.token(), path) is None


async def test_a_key_for_encryption_verifies_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [{**KEY.jwk, "use": "enc"}]}), encoding="utf-8")
    assert await caller(KEY.token(), path) is None


async def test_an_issuer_speaks_of_the_tenants_that_it_may(keys: Path) -> None:
    assert await caller(KEY.token(), keys, tenants=["acme", "globex"])
    assert await caller(KEY.token(), keys, tenants=["globex"]) is None


async def test_an_issuer_of_one_tenant_needs_no_claim_for_it(keys: Path) -> None:
    entry = {"tenant_claim": None, "tenant": "globex"}
    found = await caller(KEY.token(without=("org",)), keys, **entry)
    assert found is not None
    assert found.tenant == "globex"


async def test_an_issuer_makes_no_operator_or_service_by_itself(keys: Path) -> None:
    everything = KEY.token(roles=[str(role) for role in Role])
    found = await caller(everything, keys)
    assert found is not None
    assert found.roles == {Role.CALLER, Role.INDEXER}


async def test_roles_are_translated_and_added_to_the_fixed_ones(keys: Path) -> None:
    entry = {"roles": ["caller"], "role_names": {"ops": "operator"}}
    found = await caller(KEY.token(roles="ops other"), keys, **entry)
    assert found is not None
    assert found.roles == {Role.CALLER, Role.OPERATOR}
    assert await caller(KEY.token(roles=["caller"]), keys, role_names={"ops": "operator"}) is None


async def test_a_subject_cannot_break_a_line_of_the_log(keys: Path) -> None:
    found = await caller(KEY.token(sub="a\nb"), keys)
    assert found is not None
    assert found.name == "issuer corp: ?"


async def test_a_file_of_keys_that_has_changed_is_taken_over(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service_core.identity.key_origins.FILE_SECONDS", 0.0)
    signed, known = SignedTokens(), rules(keys)
    fresh = SigningKey(kid="second")
    assert await signed.caller_of(fresh.token(), known) is None
    await asyncio.to_thread(keys.write_text, key_set(fresh))
    assert await signed.caller_of(fresh.token(), known)
    assert await signed.caller_of(KEY.token(), known) is None
    await asyncio.to_thread(keys.write_text, '{"keys": [')
    assert await signed.caller_of(fresh.token(), known)
    await asyncio.to_thread(keys.unlink)
    assert await signed.caller_of(fresh.token(), known)
    await asyncio.to_thread(keys.write_text, key_set())
    assert await signed.caller_of(fresh.token(), known) is None


async def test_a_file_that_is_not_there_is_told_once_and_not_with_every_call(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service_core.identity.key_origins.FILE_SECONDS", 0.0)
    signed, known = SignedTokens(), rules(keys)
    await asyncio.to_thread(keys.unlink)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            assert await signed.caller_of(KEY.token(), known) is None
    assert [entry["place"] for entry in logs] == [str(keys)]
