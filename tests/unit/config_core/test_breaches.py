"""Locks and bounds: they supply, lower and refuse, and name their rule by its path in the file."""

from typing import Any

import pytest
from pydantic import ValidationError

from config_core.errors import ConfigurationFileError, PolicyViolationError, Reason
from config_core.model_configuration import ConnectionKind, ModelConfiguration
from config_core.policy import Bound, Policy
from config_core.resolve import Resolution
from config_core.rules import Rules
from config_core.source import Source
from config_core.sources.preferences import Preferences
from tests.unit.config_core.support import (
    CORP,
    ENDPOINTS,
    TENANT,
    chat,
    embedding,
    resolve,
    snapshot,
    used,
)

KEYS = {"OPENAI_API_KEY": "sk-env", "GROQ_API_KEY": "gsk-env"}


def rules(found: Resolution) -> list[tuple[str, str]]:
    """Field and rule of each violation of the policy."""
    assert all(wrong.reason is Reason.POLICY_VIOLATION for wrong in found.violations)
    return [(wrong.field, (wrong.metadata or {})["rule"]) for wrong in found.violations]


def locked(values: dict[str, Any], **more: Any) -> Any:
    return snapshot({"endpoints": ENDPOINTS, "policy": {"locks": values}, **more}, KEYS)


# --- Bounds


def test_a_bound_lowers_what_a_lower_layer_set_and_says_so() -> None:
    service = snapshot(
        {"defaults": {"max_tokens": 900}, "policy": {"bounds": {"max_tokens": {"max": 500}}}}
    )
    effective = chat(service)
    assert effective.values.max_tokens == 500
    assert effective.sources["max_tokens"] is Source.LOCKED


def test_a_bound_supplies_nothing() -> None:
    service = snapshot(
        {"defaults": {"max_tokens": 10}, "policy": {"bounds": {"max_tokens": {"max": 500}}}}
    )
    effective = chat(service)
    assert (effective.values.max_tokens, effective.sources["max_tokens"]) == (10, Source.FILE)
    bounded = snapshot({"policy": {"bounds": {"top_p": {"max": 0.5}}}})
    assert chat(bounded).values.top_p is None


def test_a_request_at_the_bound_is_accepted_and_beyond_it_refused_by_the_rules_name() -> None:
    service = snapshot({"policy": {"bounds": {"max_tokens": {"min": 5, "max": 500}}}})
    assert chat(service, {"max_tokens": 500}).values.max_tokens == 500
    for value in (501, 4):
        found = resolve(service, {"max_tokens": value})
        assert rules(found) == [("model_configuration.max_tokens", "policy.bounds.max_tokens")]
        with pytest.raises(PolicyViolationError, match=r"policy\.bounds\.max_tokens"):
            found.require()


def test_a_preference_beyond_a_bound_is_refused_at_its_own_field() -> None:
    service = snapshot({"policy": {"bounds": {"temperature": {"max": 1}}}})
    found = resolve(service, preferred=Preferences(temperature=1.5))
    assert rules(found) == [("model_preferences.temperature", "policy.bounds.temperature")]


def test_a_preference_beyond_a_bound_is_refused_even_where_the_request_outranks_it() -> None:
    service = snapshot({"policy": {"bounds": {"temperature": {"max": 1}}}})
    found = resolve(service, {"temperature": 0.5}, preferred=Preferences(temperature=1.5))
    assert rules(found) == [("model_preferences.temperature", "policy.bounds.temperature")]


def test_a_tenants_bound_can_only_tighten_the_one_for_everyone() -> None:
    for own, expected in ((100, 100), (900, 500)):
        bound = {"bounds": {"max_tokens": {"max": own}}}
        document = {
            "tenants": {TENANT: {"policy": bound}},
            "policy": {"bounds": {"max_tokens": {"max": 500}}},
        }
        assert chat(snapshot(document)).values.max_tokens == expected


def test_a_bound_that_is_no_number_limits_nothing_and_is_refused() -> None:
    with pytest.raises(ValidationError):
        Bound(max=float("nan"))


# --- Locks on values


def test_a_lock_supplies_its_value() -> None:
    effective = chat(locked({"temperature": 0.5}, defaults={"temperature": 1.0}))
    assert effective.values.temperature == 0.5
    assert effective.sources["temperature"] is Source.LOCKED


def test_a_request_may_repeat_a_locked_value_and_nothing_else() -> None:
    service = locked({"temperature": 0.5})
    assert chat(service, {"temperature": 0.5}).values.temperature == 0.5
    found = resolve(service, {"temperature": 0.0})
    assert rules(found) == [("model_configuration.temperature", "policy.locks.temperature")]
    found = resolve(service, preferred=Preferences(temperature=0.0))
    assert rules(found) == [("model_preferences.temperature", "policy.locks.temperature")]


@pytest.mark.parametrize("kind", ["chat", "embedding"])
def test_a_locked_limit_binds_every_operation(kind: ConnectionKind) -> None:
    found = resolve(locked({"timeout_seconds": 5}), {"timeout_seconds": 50}, kind=kind)
    assert rules(found) == [("model_configuration.timeout_seconds", "policy.locks.timeout_seconds")]


def test_a_locked_option_of_a_provider_binds_that_option_alone() -> None:
    service = locked({"provider_configs": {"openai": {"store": False}}})
    values = {"chat_provider": "openai", "provider_configs": {"openai": {"service_tier": "flex"}}}
    effective = chat(service, values)
    assert effective.primary.provider_options == {"store": False, "service_tier": "flex"}
    found = resolve(service, {"provider_configs": {"openai": {"store": True}}})
    name = "provider_configs.openai.store"
    assert rules(found) == [(f"model_configuration.{name}", f"policy.locks.{name}")]


def test_locked_fallbacks_keep_a_request_from_adding_its_own() -> None:
    service = locked({"fallbacks": {}})
    found = resolve(service, {"fallbacks": {"alternatives": [{"provider": "groq"}]}})
    assert rules(found) == [("model_configuration.fallbacks", "policy.locks.fallbacks")]


def test_a_tenants_lock_wins_over_the_one_for_everyone() -> None:
    service = locked(
        {"temperature": 0.5}, tenants={TENANT: {"policy": {"locks": {"temperature": 1.5}}}}
    )
    assert chat(service).values.temperature == 1.5
    assert chat(service, tenant="other").values.temperature == 0.5


# --- Locks on connections


@pytest.mark.parametrize(
    ("lock", "values", "field", "rule"),
    [
        ({"chat_provider": "groq"}, {"chat_provider": "openai"}, "chat_provider", "chat_provider"),
        ({"chat_provider": "groq"}, {"chat_endpoint": "corp"}, "chat_endpoint", "chat_provider"),
        ({"chat_endpoint": "corp"}, {"chat_provider": "groq"}, "chat_provider", "chat_endpoint"),
        ({"chat_endpoint": "corp"}, {"chat_endpoint": "edge"}, "chat_endpoint", "chat_endpoint"),
        (
            {"chat_endpoint": "corp"},
            {"chat_provider": "openai", "chat_api_key": "sk-own"},
            "chat_api_key",
            "chat_endpoint",
        ),
        (
            {"chat_provider": "openai", "chat_api_key": "sk-lock"},
            {"chat_provider": "openai", "chat_api_key": "sk-own"},
            "chat_api_key",
            "chat_provider",
        ),
        (
            {"chat_endpoint": "corp", "chat_api_key": "sk-lock"},
            {"chat_endpoint": "corp", "chat_api_key": "sk-own"},
            "chat_api_key",
            "chat_endpoint",
        ),
    ],
)
def test_a_request_cannot_leave_a_locked_connection(
    lock: dict[str, str], values: dict[str, str], field: str, rule: str
) -> None:
    found = resolve(locked(lock), values)
    assert rules(found) == [(f"model_configuration.{field}", f"policy.locks.{rule}")]


def test_a_locked_provider_takes_over_with_its_registered_key() -> None:
    service = locked(
        {"chat_provider": "groq"}, defaults={"chat_provider": "openai", "chat_api_key": "sk-file"}
    )
    assert used(chat(service))[0::3] == ("groq", "gsk-env")


def test_a_callers_key_for_the_locked_provider_is_used() -> None:
    values = {"chat_provider": "groq", "chat_api_key": "gsk-own"}
    assert used(chat(locked({"chat_provider": "groq"}), values))[3] == "gsk-own"


def test_a_callers_key_for_the_locked_endpoint_is_used_and_not_silently_replaced() -> None:
    values = {"chat_endpoint": "corp", "chat_api_key": "sk-own"}
    effective = chat(locked({"chat_endpoint": "corp"}), values)
    assert used(effective) == ("openai", "corp", CORP, "sk-own")


def test_a_tenants_locked_provider_never_takes_the_key_that_is_locked_for_everyone() -> None:
    service = locked(
        {"chat_provider": "openai", "chat_api_key": "sk-openai", "chat_model": "gpt-4.1"},
        tenants={TENANT: {"policy": {"locks": {"chat_provider": "groq"}}}},
    )
    effective = chat(service)
    assert used(effective)[0::3] == ("groq", "gsk-env")
    assert effective.primary.model == "llama-3.3-70b-versatile"


def test_a_tenants_lock_that_restates_the_provider_keeps_the_key_locked_for_everyone() -> None:
    general = Policy(
        locks=ModelConfiguration.model_validate(
            {"chat_provider": "openai", "chat_api_key": "sk-openai", "chat_model": "m"}
        )
    )
    own = Policy(locks=ModelConfiguration.model_validate({"chat_provider": "openai"}))
    assert Rules.of(general, TENANT, own).locks == general.locks


def test_a_locked_embedding_connection_outranks_the_request() -> None:
    found = resolve(
        locked({"embedding_provider": "openai"}),
        {"embedding_provider": "mistral"},
        kind="embedding",
    )
    assert rules(found) == [
        ("model_configuration.embedding_provider", "policy.locks.embedding_provider")
    ]
    assert used(embedding(locked({"embedding_provider": "openai"})))[3] == "sk-env"


# --- Fallbacks against locks


@pytest.mark.parametrize(
    ("lock", "rule"),
    [
        ({"chat_provider": "openai"}, "policy.locks.chat_provider"),
        ({"chat_provider": "openai", "chat_model": "gpt-4.1"}, "policy.locks.chat_provider"),
    ],
)
def test_a_requests_alternative_that_breaks_a_lock_is_refused(
    lock: dict[str, str], rule: str
) -> None:
    values = {"chat_provider": "openai", "fallbacks": {"alternatives": [{"provider": "groq"}]}}
    found = resolve(locked(lock), values)
    assert rules(found) == [("model_configuration.fallbacks.alternatives[0]", rule)]


def test_a_requests_alternative_with_another_than_the_locked_model_is_refused() -> None:
    alternatives = [
        {"provider": "openai", "model": "gpt-4.1"},
        {"provider": "openai", "model": "o3"},
    ]
    values = {"chat_provider": "openai", "fallbacks": {"alternatives": alternatives}}
    found = resolve(locked({"chat_provider": "openai", "chat_model": "gpt-4.1"}), values)
    assert rules(found) == [
        ("model_configuration.fallbacks.alternatives[1]", "policy.locks.chat_model")
    ]


def test_a_lower_layers_alternative_that_breaks_a_lock_is_skipped() -> None:
    service = locked(
        {"chat_model": "gpt-4.1"},
        defaults={
            "chat_provider": "openai",
            "fallbacks": {"alternatives": [{"provider": "openai", "model": "gpt-4o"}]},
        },
    )
    skip = chat(service).targets[1].skip
    assert skip is not None
    assert skip.reason is Reason.POLICY_VIOLATION
    assert "locks.chat_model" in skip.detail


def test_a_model_of_the_request_belongs_to_the_locked_provider() -> None:
    service = snapshot({"policy": {"locks": {"chat_provider": "openai"}}}, {"OPENAI_API_KEY": "k"})
    effective = chat(service, {"chat_model": "gpt-own"})
    assert (effective.values.chat_provider, effective.values.chat_model) == ("openai", "gpt-own")
    assert effective.sources["chat_provider"] is Source.LOCKED


def test_a_bound_outside_of_its_fields_range_is_refused() -> None:
    with pytest.raises(ConfigurationFileError, match="can't be bounded"):
        snapshot({"policy": {"bounds": {"max_tokens": {"max": 0.5}}}}, {})
