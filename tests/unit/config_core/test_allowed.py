"""What may be called: providers, models, endpoints and whose keys, checked on what was resolved."""

from collections.abc import Mapping
from typing import Any

import pytest

from config_core.effective import EffectiveConfiguration
from config_core.errors import ConfigurationFileError, PolicyViolationError, Reason
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.resolve import Resolution
from config_core.snapshot import Snapshot
from config_core.sources.collection import PinnedSpace
from config_core.sources.preferences import Preferences
from config_core.space import EmbeddingSpace
from tests.unit.config_core.support import (
    ENDPOINTS,
    TENANT,
    asked,
    chat,
    key_of,
    next_hop,
    resolve,
    snapshot,
)

KEYS = {"OPENAI_API_KEY": "sk-env", "GROQ_API_KEY": "gsk-env", "MISTRAL_API_KEY": "mk-env"}
OWN = f"tenants.{TENANT}.policy"


def service(
    own: Mapping[str, Any] | None = None,
    general: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    **more: Any,
) -> Snapshot:
    """A service with a policy for the tenant and one for everyone."""
    document = {"endpoints": ENDPOINTS, "policy": general or {}, **more}
    document["tenants"] = {TENANT: {"policy": own or {}, **more.get("tenants", {})}}
    return snapshot(document, {**KEYS, **(environ or {})})


def broken(found: Resolution) -> list[tuple[str, str]]:
    """Field and rule of each violation; all are the policy's."""
    assert all(wrong.reason is Reason.POLICY_VIOLATION for wrong in found.violations)
    return [(wrong.field, (wrong.metadata or {})["rule"]) for wrong in found.violations]


def skips(effective: EffectiveConfiguration) -> list[str]:
    """Why alternatives are passed over, "" for those that are not."""
    for target in effective.targets[1:]:
        assert target.skip is None or target.skip.reason is Reason.POLICY_VIOLATION
    return [target.skip.detail if target.skip else "" for target in effective.targets[1:]]


# --- Providers


def test_a_provider_that_is_not_allowed_is_refused_by_the_rules_path() -> None:
    own = service({"providers": ["openai"]})
    found = resolve(own, {"chat_provider": "groq"})
    assert broken(found) == [("model_configuration.chat_provider", f"{OWN}.providers")]
    with pytest.raises(PolicyViolationError, match=r"must be one of openai .*acme\.policy"):
        found.require()
    assert chat(own, {"chat_provider": "openai"}).values.chat_provider == "openai"


def test_a_provider_that_is_preferred_is_refused_at_the_preference() -> None:
    found = resolve(service({"providers": ["openai"]}), preferred=Preferences(provider="groq"))
    assert broken(found) == [("model_preferences.provider", f"{OWN}.providers")]


@pytest.mark.parametrize("kind", ["chat", "embedding"])
def test_a_default_that_is_not_allowed_is_refused_too(kind: ConnectionKind) -> None:
    found = resolve(service({"providers": ["openai"]}), kind=kind)
    assert broken(found) == [(f"default.{kind}_provider", f"{OWN}.providers")]


@pytest.mark.parametrize(
    ("more", "environ", "field"),
    [
        ({"tenants": {"model_configuration": {"chat_provider": "groq"}}}, {}, "tenant"),
        ({"defaults": {"chat_provider": "groq"}}, {}, "file"),
        ({}, {"CASCADA_CHAT_PROVIDER": "groq"}, "environment"),
    ],
)
def test_a_lower_layers_provider_that_is_not_allowed_is_refused(
    more: dict[str, Any], environ: dict[str, str], field: str
) -> None:
    found = resolve(service({"providers": ["openai"]}, environ=environ, **more))
    assert broken(found) == [(f"{field}.chat_provider", f"{OWN}.providers")]


def test_a_request_may_leave_a_lower_layers_provider_for_one_that_is_allowed() -> None:
    own = service({"providers": ["openai"]}, defaults={"chat_provider": "groq"})
    assert not resolve(own, {"chat_provider": "openai"}).violations


def test_no_provider_at_all_is_a_policy_too() -> None:
    found = resolve(service({"providers": []}))
    assert broken(found) == [("default.chat_provider", f"{OWN}.providers")]
    assert "none at all" in found.violations[0].description


def test_a_policy_of_one_tenant_says_nothing_of_another() -> None:
    assert not resolve(service({"providers": ["openai"]}), tenant="other").violations


@pytest.mark.parametrize(
    ("provider", "rule"), [("groq", f"{OWN}.providers"), ("mistral", "policy.providers")]
)
def test_what_is_allowed_for_a_tenant_has_to_be_allowed_for_everyone(
    provider: str, rule: str
) -> None:
    both = service({"providers": ["openai", "mistral"]}, {"providers": ["openai", "groq"]})
    found = resolve(both, {"chat_provider": provider})
    assert broken(found) == [("model_configuration.chat_provider", rule)]
    assert not resolve(both, {"chat_provider": "openai"}).violations


# --- Models


MODELS = {"models": {"openai": {"chat": ["gpt-4.1*", "o?"], "embedding": ["text-embedding-3-*"]}}}


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-4.1-mini", "o3"])
def test_a_model_that_fits_a_pattern_is_allowed(model: str) -> None:
    values = {"chat_provider": "openai", "chat_model": model}
    assert not resolve(service(MODELS), values).violations


@pytest.mark.parametrize("model", ["gpt-4o", "GPT-4.1", "o", "o31"])
def test_a_model_that_fits_no_pattern_is_refused(model: str) -> None:
    found = resolve(service(MODELS), {"chat_provider": "openai", "chat_model": model})
    assert broken(found) == [("model_configuration.chat_model", f"{OWN}.models.openai.chat")]


def test_each_operation_has_patterns_of_its_own() -> None:
    values = {"embedding_provider": "openai", "embedding_model": "gpt-4.1"}
    found = resolve(service(MODELS), values, kind="embedding")
    rule = f"{OWN}.models.openai.embedding"
    assert broken(found) == [("model_configuration.embedding_model", rule)]


def test_models_of_a_provider_without_patterns_are_all_allowed() -> None:
    assert not resolve(service(MODELS), {"chat_provider": "groq", "chat_model": "x"}).violations


def test_the_default_model_of_a_provider_is_checked_and_whoever_named_that_is_told() -> None:
    own = service({"models": {"openai": {"chat": ["gpt-4o"]}}})
    found = resolve(own, {"chat_provider": "openai"})
    assert broken(found) == [("model_configuration.chat_model", f"{OWN}.models.openai.chat")]
    assert "not 'gpt-4.1-mini'" in found.violations[0].description


def test_a_request_cannot_bring_a_lower_layers_model_to_a_provider_that_refuses_it() -> None:
    own = service(
        {"models": {"groq": {"chat": ["llama-*"]}}},
        defaults={"chat_provider": "groq", "chat_model": "llama-3.1-8b-instant"},
    )
    assert not resolve(own).violations
    found = resolve(own, {"chat_model": "mixtral"})
    assert broken(found) == [("model_configuration.chat_model", f"{OWN}.models.groq.chat")]


def test_a_locked_model_has_to_be_allowed_as_any_other() -> None:
    own = service({"locks": {"chat_provider": "openai", "chat_model": "gpt-4o"}, **MODELS})
    assert broken(resolve(own)) == [("locked.chat_model", f"{OWN}.models.openai.chat")]


# --- Endpoints


def test_only_the_endpoints_that_are_named_may_be_called() -> None:
    own = service({"endpoints": ["corp"]})
    assert not resolve(own, {"chat_endpoint": "corp"}).violations
    found = resolve(own, {"chat_endpoint": "edge"})
    assert broken(found) == [("model_configuration.chat_endpoint", f"{OWN}.endpoints")]


def test_a_providers_own_service_is_allowed_by_the_providers_name() -> None:
    found = resolve(service({"endpoints": ["corp"]}), {"chat_provider": "openai"})
    assert broken(found) == [("model_configuration.chat_provider", f"{OWN}.endpoints")]
    both = service({"endpoints": ["corp", "openai"]})
    assert not resolve(both, {"chat_provider": "openai"}).violations
    assert broken(resolve(both)) == [("default.chat_provider", f"{OWN}.endpoints")]


@pytest.mark.parametrize("place", ["policy", OWN])
def test_a_policy_that_names_an_unknown_endpoint_is_refused(place: str) -> None:
    own = {"endpoints": ["corp", "gone"]}
    with pytest.raises(ConfigurationFileError, match=rf"{place}\.endpoints\[1\]"):
        service(own if place == OWN else None, own if place == "policy" else None)


# --- Own keys


def test_a_key_is_refused_where_own_keys_are_forbidden() -> None:
    values = {
        "chat_provider": "openai",
        "chat_api_key": "sk-own",
        "fallbacks": {"alternatives": [{"provider": "groq", "api_key": "gsk-own"}]},
    }
    found = resolve(service({"own_keys": "forbidden"}), values)
    assert broken(found) == [
        ("model_configuration.chat_api_key", f"{OWN}.own_keys"),
        ("model_configuration.fallbacks.alternatives[0].api_key", f"{OWN}.own_keys"),
    ]


def test_an_embedding_key_is_refused_where_own_keys_are_forbidden() -> None:
    values = {"embedding_provider": "openai", "embedding_api_key": "sk-own"}
    found = resolve(service({"own_keys": "forbidden"}), values, kind="embedding")
    assert broken(found) == [("model_configuration.embedding_api_key", f"{OWN}.own_keys")]


def test_the_operators_key_is_not_used_where_own_keys_are_required() -> None:
    own = service({"own_keys": "required"})
    found = resolve(own, {"chat_provider": "openai"})
    assert broken(found) == [("model_configuration.chat_api_key", f"{OWN}.own_keys")]
    values = {"chat_provider": "openai", "chat_api_key": "sk-own"}
    assert key_of(chat(own, values).primary.connection) == "sk-own"


def test_the_operators_key_is_not_to_be_had_by_reference_where_own_keys_are_required() -> None:
    secrets = {"shared": {"provider": "openai", "tenants": ["*"], "from": {"env": "SHARED"}}}
    own = service({"own_keys": "required"}, environ={"SHARED": "sk-shared"}, secrets=secrets)
    found = resolve(own, {"chat_provider": "openai", "chat_secret_ref": "shared"})
    assert broken(found) == [("model_configuration.chat_api_key", f"{OWN}.own_keys")]


def test_a_tenants_registered_key_and_calls_without_one_are_its_own() -> None:
    credentials = {"credentials": {"openai": {"from": {"env": "ACME"}}}}
    own = service({"own_keys": "required"}, environ={"ACME": "sk-acme"}, tenants=credentials)
    effective = chat(own, {"chat_provider": "openai"})
    assert key_of(effective.primary.connection) == "sk-acme"
    assert chat(own).primary.connection.provider is ModelProvider.LOCAL


def test_a_tenants_word_on_own_keys_replaces_that_for_everyone() -> None:
    values = {"chat_provider": "openai", "chat_api_key": "sk-own"}
    both = service({"own_keys": "allowed"}, {"own_keys": "forbidden"})
    assert not resolve(both, values).violations
    found = resolve(both, values, tenant="other")
    assert broken(found) == [("model_configuration.chat_api_key", "policy.own_keys")]


# --- Fallbacks


FALLBACKS = {
    "chat_provider": "openai",
    "fallbacks": {
        "alternatives": [
            {"provider": "groq"},
            {"provider": "openai", "model": "gpt-4o"},
            {"endpoint": "edge"},
            {"provider": "openai", "model": "gpt-4.1"},
        ]
    },
}
ALLOWED = {"providers": ["openai"], **MODELS, "endpoints": ["corp", "openai"]}


def test_a_lower_layers_alternative_that_is_not_allowed_is_skipped_with_the_rule() -> None:
    effective = chat(service(ALLOWED, defaults=FALLBACKS))
    assert skips(effective) == [
        f"the policy rule {OWN}.providers forbids it",
        f"the policy rule {OWN}.models.openai.chat forbids it",
        f"the policy rule {OWN}.providers forbids it",
        "",
    ]


def test_a_requests_alternative_that_is_not_allowed_is_refused() -> None:
    assert broken(resolve(service(ALLOWED), FALLBACKS)) == [
        ("model_configuration.fallbacks.alternatives[0]", f"{OWN}.providers"),
        ("model_configuration.fallbacks.alternatives[1]", f"{OWN}.models.openai.chat"),
        ("model_configuration.fallbacks.alternatives[2]", f"{OWN}.providers"),
    ]


def test_the_default_model_of_an_alternative_is_checked() -> None:
    fallbacks = {"alternatives": [{"provider": "openai"}]}
    own = service({"models": {"openai": {"chat": ["gpt-4o"]}}}, defaults={"fallbacks": fallbacks})
    assert skips(chat(own)) == [f"the policy rule {OWN}.models.openai.chat forbids it"]


def test_a_primary_that_is_not_allowed_is_refused_whatever_could_follow_it() -> None:
    fallbacks = {"alternatives": [{"provider": "openai"}]}
    values = {"chat_provider": "groq", "fallbacks": fallbacks}
    found = resolve(service({"providers": ["openai"]}, defaults=values))
    assert broken(found) == [("file.chat_provider", f"{OWN}.providers")]


def test_an_alternative_with_the_operators_key_is_skipped_where_own_keys_are_required() -> None:
    values = {
        "chat_provider": "openai",
        "chat_api_key": "sk-own",
        "fallbacks": {"alternatives": [{"provider": "groq"}, {"provider": "local"}]},
    }
    own = service({"own_keys": "required", "operator_fallback": True})
    assert skips(chat(own, values)) == [f"the policy rule {OWN}.own_keys forbids it", ""]


# --- Collections and hops


PINNED = PinnedSpace(EmbeddingSpace(ModelProvider.MISTRAL, "mistral-embed", 1024))


def test_a_collections_space_is_checked_and_named_as_the_collections() -> None:
    found = resolve(service({"providers": ["local"]}), kind="embedding", pinned=PINNED)
    assert broken(found) == [("retrieval.collections", f"{OWN}.providers")]


@pytest.mark.parametrize(
    ("values", "depends"),
    [
        ({}, True),
        ({"embedding_model": "x"}, True),
        ({"embedding_provider": "openai"}, False),
    ],
)
def test_only_what_the_request_itself_names_is_judged_before_the_collection_is_known(
    values: dict[str, str], *, depends: bool
) -> None:
    found = resolve(service({"providers": ["mistral"]}), values, kind="embedding")
    assert len(found.violations) == 1
    assert found.of_space == (found.violations if depends else ())


def test_a_model_that_a_collection_may_bring_is_not_judged_before_it_is_known() -> None:
    own = service({"models": {"openai": {"embedding": ["text-embedding-3-large"]}}})
    found = resolve(own, {"embedding_provider": "openai"}, kind="embedding")
    assert found.of_space == found.violations
    assert len(found.violations) == 1


def test_what_is_forwarded_is_checked_again_by_the_next_services_own_policy() -> None:
    profile = {TENANT: {"model_configuration": FALLBACKS}}
    sender = snapshot({"endpoints": ENDPOINTS, "tenants": profile}, KEYS)
    sent = next_hop(chat(sender))
    receiver = service({"providers": ["groq"]})
    found = receiver.resolve("chat", TENANT, sent)
    assert broken(found) == [("tenant.chat_provider", f"{OWN}.providers")]
    forbidden = f"the policy rule {OWN}.providers forbids it"
    details = [target.skip.detail if target.skip else "" for target in found.effective.targets]
    assert [detail == forbidden for detail in details] == [False, False, True, False, True]


def test_a_connection_with_its_key_that_is_forwarded_is_checked_as_any_other() -> None:
    sent = next_hop(chat(snapshot(None, KEYS), {"chat_provider": "openai"}), attach=True)
    found = service({"own_keys": "required"}).resolve("chat", TENANT, sent)
    assert broken(found) == [("model_configuration.chat_api_key", f"{OWN}.own_keys")]


def test_every_violation_is_named_at_once() -> None:
    own = service({"providers": ["openai"], "own_keys": "forbidden", "locks": {"top_p": 0.5}})
    values = {"chat_provider": "groq", "chat_api_key": "gsk-own", "top_p": 0.6}
    rules = {rule for _, rule in broken(own.resolve("chat", TENANT, asked(values)))}
    assert rules == {f"{OWN}.providers", f"{OWN}.own_keys", f"{OWN}.locks.top_p"}
