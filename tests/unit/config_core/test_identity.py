"""The identity part of the configuration file: what is accepted, and what would be a hole."""

from typing import Any

import jsonschema
import pytest

from config_core.configuration_file import json_schema
from config_core.errors import ConfigurationFileError
from config_core.file_reader import parse, version_of
from config_core.identity import Access, Role

HASH = "a" * 64
OTHER_HASH = "b" * 64
TOKEN = {"sha256": HASH, "tenant": "acme", "roles": ["caller"]}
ISSUER: dict[str, Any] = {
    "issuer": "https://id.example",
    "audiences": ["cascada"],
    "jwks": {"file": "/etc/keys.json"},
    "tenant_claim": "org",
    "roles_claim": "roles",
}
FULL = {
    "tokens": {"web": TOKEN, "hop": {"sha256": OTHER_HASH, "roles": ["service"]}},
    "certificates": {
        "backend": {"uri": "spiffe://example/backend", "tenant": "acme", "roles": ["caller"]},
        "host": {"dns": "host.example", "tenant": "acme", "roles": ["indexer"]},
        "name": {"common_name": "ops", "tenant": "acme", "roles": ["operator"]},
    },
    "issuers": {
        "corp": ISSUER,
        "url": {
            "issuer": "https://other.example",
            "audiences": ["cascada"],
            "jwks": {"url": "https://other.example/keys", "ca_file": "/etc/ca.pem"},
            "algorithms": ["ES256"],
            "leeway_seconds": 0,
            "tenant": "acme",
            "roles": ["caller"],
            "roles_claim": "groups",
            "role_names": {"cascada-admins": "operator"},
        },
    },
    "reflection": "open",
    "configuration_service": "operator",
}


def read(identity: object) -> Any:
    rules = parse({"identity": identity}, "cascada.json").identity
    assert rules is not None
    return rules


def problems(identity: object) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationFileError) as caught:
        read(identity)
    return list(caught.value.problems)


def test_everything_that_there_is_can_be_said() -> None:
    rules = read(FULL)
    assert rules.tokens["hop"].roles == (Role.SERVICE,)
    assert rules.issuers["url"].role_names == {"cascada-admins": Role.OPERATOR}
    assert rules.reflection is Access.OPEN
    jsonschema.validate({"identity": FULL}, json_schema())


def test_a_file_without_the_part_has_identity_off() -> None:
    assert parse({}, "cascada.json").identity is None


def test_an_empty_part_is_there_and_knows_nobody() -> None:
    rules = read({})
    assert not rules.tokens
    assert rules.reflection is Access.IDENTIFIED


def test_the_part_is_in_the_version_of_the_file() -> None:
    assert version_of({"identity": FULL}) != version_of({})


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "ES256K", ""])
def test_no_token_is_taken_that_anybody_could_sign(algorithm: str) -> None:
    path, _ = problems({"issuers": {"corp": {**ISSUER, "algorithms": [algorithm]}}})[0]
    assert path == "identity.issuers.corp.algorithms[0]"


def test_an_issuers_default_algorithms_are_signatures_with_a_key_pair() -> None:
    algorithms = read({"issuers": {"corp": ISSUER}}).issuers["corp"].algorithms
    assert algorithms
    assert not {name for name in algorithms if name.startswith(("HS", "none"))}


@pytest.mark.parametrize(
    "url",
    ["http://id.example/keys", "file:///etc/keys", "https://", "https://user:pw@id.example/keys"],
)
def test_keys_come_over_https_alone(url: str) -> None:
    found = problems({"issuers": {"corp": {**ISSUER, "jwks": {"url": url}}}})
    assert [path for path, _ in found] == ["identity.issuers.corp.jwks.url"]
    assert "pw" not in str(found)


@pytest.mark.parametrize(
    "jwks",
    [{}, {"file": "a", "url": "https://id.example/keys"}, {"file": "a", "ca_file": "b"}],
)
def test_keys_have_one_origin(jwks: dict[str, str]) -> None:
    ((path, _),) = problems({"issuers": {"corp": {**ISSUER, "jwks": jwks}}})
    assert path == "identity.issuers.corp.jwks"


@pytest.mark.parametrize(
    "sha256", ["", "a" * 63, "A" * 64, "g" * 64, "cascada_0123456789", f"{HASH}\n"]
)
def test_a_token_stands_there_by_its_hash_and_in_no_other_form(sha256: str) -> None:
    ((path, why),) = problems({"tokens": {"web": {**TOKEN, "sha256": sha256}}})
    assert path == "identity.tokens.web.sha256"
    assert "cascada_" not in why


def test_who_is_no_service_needs_a_tenant() -> None:
    for entry in ({"sha256": HASH, "roles": ["caller"]}, {"sha256": HASH, "roles": ["operator"]}):
        ((_, why),) = problems({"tokens": {"web": entry}})
        assert "tenant" in why
    assert read({"tokens": {"web": {"sha256": HASH, "roles": ["service"]}}}).tokens["web"]


@pytest.mark.parametrize("roles", [[], ["admin"], ["*"]])
def test_roles_are_those_that_there_are(roles: list[str]) -> None:
    assert problems({"tokens": {"web": {**TOKEN, "roles": roles}}})


@pytest.mark.parametrize(
    "names", [{}, {"uri": "a", "dns": "b"}, {"uri": "a", "dns": "b", "common_name": "c"}]
)
def test_a_certificate_is_known_by_one_name(names: dict[str, str]) -> None:
    entry = {**names, "tenant": "acme", "roles": ["caller"]}
    ((path, _),) = problems({"certificates": {"web": entry}})
    assert path == "identity.certificates.web"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tenant": "acme"}, "tenant"),
        ({"tenant_claim": None}, "tenant"),
        ({"tenant_claim": None, "tenant": "acme", "tenants": ["acme"]}, "tenants"),
        ({"roles_claim": None}, "roles"),
        ({"roles_claim": None, "roles": ["caller"], "role_names": {"x": "caller"}}, "role_names"),
    ],
)
def test_an_issuer_says_whose_its_tokens_are_and_what_they_may(
    change: dict[str, Any], word: str
) -> None:
    ((path, why),) = problems({"issuers": {"corp": {**ISSUER, **change}}})
    assert path == "identity.issuers.corp"
    assert word in why


@pytest.mark.parametrize(
    "identity",
    [
        {"tokens": {"a": TOKEN, "b": {**TOKEN, "tenant": "other"}}},
        {"issuers": {"a": ISSUER, "b": {**ISSUER, "audiences": ["other"]}}},
        {
            "certificates": {
                "a": {"dns": "x", "tenant": "acme", "roles": ["caller"]},
                "b": {"dns": "x", "tenant": "other", "roles": ["caller"]},
            }
        },
    ],
)
def test_nobody_is_two_identities(identity: dict[str, Any]) -> None:
    ((_, why),) = problems(identity)
    assert "a and b" in why


def test_the_configuration_service_is_never_open_to_everybody() -> None:
    ((path, _),) = problems({"configuration_service": "open"})
    assert path == "identity.configuration_service"
