"""A secret that is not for a connection and tenant is as good as one that does not exist."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from config_core.configuration_file import SecretOrigin
from config_core.connection import Credential, Owner
from config_core.effective import Skip, Target
from config_core.errors import CascadaError, Reason
from config_core.fingerprint import same_secret
from config_core.model_configuration import ConnectionKind
from config_core.snapshot import Snapshot
from tests.unit.config_core.support import ENDPOINTS, TENANT, asked, resolve, snapshot

WRONG: Mapping[str, Mapping[str, Any] | None] = {
    "unknown": None,
    "another tenant's": {"provider": "openai", "tenants": ["other"]},
    "another provider's": {"provider": "mistral", "tenants": [TENANT]},
    "another endpoint's": {"provider": "openai", "endpoint": "corp", "tenants": ["*"]},
}


@dataclass
class Spy:
    """A reader of secrets that notes what it is asked for."""

    asked: list[SecretOrigin] = field(default_factory=list)

    def read(self, origin: SecretOrigin) -> SecretStr:
        self.asked.append(origin)
        return SecretStr("sk-of-somebody")


def service(entry: Mapping[str, Any] | None, spy: Spy) -> Snapshot:
    secrets = {} if entry is None else {"wanted": {**entry, "from": {"env": "KEY"}}}
    plain = snapshot({"endpoints": ENDPOINTS, "secrets": secrets})
    return Snapshot(plain.document, "version", plain.environment, spy)


def told(error: CascadaError | None) -> tuple[object, ...]:
    """All that a caller could learn from an error."""
    assert error is not None
    return type(error), error.code_reason, error.message, error.violations, error.metadata


def primary(values: Mapping[str, Any], kind: ConnectionKind, which: str) -> Target:
    spy = Spy()
    found = service(WRONG[which], spy).resolve(kind, TENANT, asked(values))
    assert not found.violations
    assert spy.asked == []  # nobody waits for a vault, or fails to
    assert found.effective.primary.connection.credential is None
    return found.effective.primary


@pytest.mark.parametrize("which", list(WRONG))
@pytest.mark.parametrize("kind", ["chat", "embedding"])
def test_every_wrong_reference_is_told_in_the_same_words(kind: ConnectionKind, which: str) -> None:
    values = {f"{kind}_provider": "openai", f"{kind}_secret_ref": "wanted"}
    error = told(primary(values, kind, which).problem)
    assert error == told(primary(values, kind, "unknown").problem)
    assert error[1] is Reason.INVALID_CONFIGURATION


@pytest.mark.parametrize("which", list(WRONG))
def test_every_wrong_reference_of_an_alternative_is_told_in_the_same_words(which: str) -> None:
    values = {"fallbacks": {"alternatives": [{"provider": "openai", "secret_ref": "wanted"}]}}

    def skip(case: str) -> Skip | None:
        return resolve(service(WRONG[case], Spy()), values).effective.targets[1].skip

    assert skip(which) is not None
    assert skip(which) == skip("unknown")


def test_the_right_tenant_and_connection_are_given_the_secret() -> None:
    spy = Spy()
    own = service({"provider": "openai", "tenants": [TENANT]}, spy)
    values = {"chat_provider": "openai", "chat_secret_ref": "wanted"}
    credential = resolve(own, values).effective.primary.connection.credential
    assert credential is not None
    assert credential.key.get_secret_value() == "sk-of-somebody"
    assert spy.asked


@pytest.mark.parametrize("name", ["**", "other", "nobody"])
def test_a_tenants_credential_is_nobody_elses_whatever_its_name(name: str) -> None:
    credentials = {"openai": {"from": {"env": "KEY"}}}
    document = {"tenants": {name: {"credentials": credentials}}}
    found = snapshot(document, {"KEY": "sk-of-one-tenant"})
    values = {"chat_provider": "openai"}

    def credential(tenant: str) -> Credential | None:
        return resolve(found, values, tenant=tenant).effective.primary.connection.credential

    assert credential(name) is not None
    assert credential(TENANT) is None


@pytest.mark.parametrize("name", ["", "**"])
def test_a_secret_of_a_strange_tenant_is_nobody_elses(name: str) -> None:
    spy = Spy()
    found = service({"provider": "openai", "tenants": [name]}, spy)
    assert (
        resolve(found, {"chat_provider": "openai"}).effective.primary.connection.credential is None
    )
    assert not spy.asked


@pytest.mark.parametrize("asked_for", [{}, {"chat_secret_ref": "wanted"}])
@pytest.mark.parametrize("tenants", [["*"], ["other", "*"]])
@pytest.mark.parametrize("tenant", [TENANT, "other", "*", ""])
def test_a_secret_for_all_is_the_operators_for_whoever_asks(
    tenant: str, tenants: list[str], asked_for: Mapping[str, str]
) -> None:
    found = service({"provider": "openai", "tenants": tenants}, Spy())
    values = {"chat_provider": "openai", **asked_for}
    credential = resolve(found, values, tenant=tenant).effective.primary.connection.credential
    assert credential is not None
    assert credential.owner is Owner.OPERATOR


def test_secrets_are_compared_whole_and_by_presence() -> None:
    assert same_secret(SecretStr("sk-ñ"), SecretStr("sk-ñ"))
    assert not same_secret(SecretStr("sk-a"), SecretStr("sk-b"))
    assert not same_secret(SecretStr("sk-a"), None)
    assert same_secret(None, None)


@pytest.mark.parametrize(("key", "agrees"), [("sk-lock", True), ("sk-other", False), (None, False)])
def test_locked_fallbacks_are_compared_with_their_keys(key: str | None, *, agrees: bool) -> None:
    def fallbacks(of: str | None) -> dict[str, Any]:
        alternative = {"provider": "openai", "api_key": of}
        return {"fallbacks": {"alternatives": [alternative]}}

    own = snapshot({"policy": {"locks": fallbacks("sk-lock")}})
    assert bool(resolve(own, fallbacks(key)).violations) is not agrees
