"""The rules of the connection, one row each; a test is named by the leak that it prevents."""

from typing import Any

import pytest

from config_core.connection import Owner
from config_core.errors import (
    ConfigurationFileError,
    CredentialMissingError,
    InvalidConfigurationError,
    Reason,
)
from config_core.file_reader import parse
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from config_core.sources.collection import PinnedSpace
from config_core.sources.preferences import Preferences
from config_core.space import EmbeddingSpace
from tests.unit.config_core.support import (
    CORP,
    EDGE,
    ENDPOINTS,
    GROQ,
    OPENAI,
    TENANT,
    chat,
    embedding,
    key_of,
    resolve,
    snapshot,
    used,
)

ENVIRON = {"OPENAI_API_KEY": "sk-env", "GROQ_API_KEY": "gsk-env"}
PROXY = {**ENVIRON, "OPENAI_BASE_URL": "http://10.0.0.1/v1"}


def own_secret(**entry: Any) -> dict[str, Any]:
    return {"provider": "openai", "tenants": ["*"], "from": {"env": "SECRET"}} | entry


# --- The layer that names the provider or endpoint decides


def test_a_request_naming_an_endpoint_never_carries_the_environments_key_there() -> None:
    service = snapshot({"endpoints": ENDPOINTS}, ENVIRON)
    effective = chat(service, {"chat_endpoint": "corp"})
    assert used(effective) == ("openai", "corp", CORP, None)
    assert isinstance(effective.primary.problem, CredentialMissingError)


def test_a_request_naming_a_provider_never_carries_the_tenants_key_of_another_there() -> None:
    profile = {"chat_provider": "openai", "chat_api_key": "sk-tenant"}
    service = snapshot({"tenants": {TENANT: {"model_configuration": profile}}})
    assert used(chat(service, {"chat_provider": "groq"})) == ("groq", "", GROQ, None)


def test_a_request_naming_a_provider_never_stays_at_the_inherited_endpoint_of_another() -> None:
    service = snapshot({"endpoints": ENDPOINTS, "defaults": {"chat_endpoint": "corp"}}, ENVIRON)
    assert used(chat(service, {"chat_provider": "groq"})) == ("groq", "", GROQ, "gsk-env")


def test_a_preference_for_a_provider_never_carries_the_defaults_key_of_another_there() -> None:
    service = snapshot(
        {"defaults": {"chat_provider": "openai", "chat_api_key": "sk-file"}}, ENVIRON
    )
    effective = chat(service, preferred=Preferences(provider="Groq"))
    assert used(effective) == ("groq", "", GROQ, "gsk-env")


def test_an_endpoint_implies_its_provider_and_never_the_inherited_one() -> None:
    service = snapshot({"endpoints": ENDPOINTS, "defaults": {"chat_provider": "openai"}}, ENVIRON)
    assert used(chat(service, {"chat_endpoint": "edge"}))[:3] == ("groq", "edge", EDGE)


def test_a_request_cannot_lend_an_endpoint_to_another_provider() -> None:
    found = resolve(
        snapshot({"endpoints": ENDPOINTS}, ENVIRON),
        {"chat_endpoint": "corp", "chat_provider": "groq"},
    )
    assert [wrong.field for wrong in found.violations] == ["model_configuration.chat_provider"]


def test_an_endpoint_that_nobody_registered_is_refused_by_its_name() -> None:
    found = resolve(snapshot(None, ENVIRON), {"chat_endpoint": "evil.example"})
    assert [wrong.field for wrong in found.violations] == ["model_configuration.chat_endpoint"]
    assert found.effective.primary.connection.base_url == ""


@pytest.mark.parametrize("field", ["chat_api_key", "chat_secret_ref", "embedding_api_key"])
def test_a_key_without_its_connection_never_goes_where_the_inherited_one_leads(field: str) -> None:
    service = snapshot({"endpoints": ENDPOINTS, "defaults": {"chat_endpoint": "corp"}}, ENVIRON)
    found = resolve(service, {field: "sk-lone"})
    assert [wrong.field for wrong in found.violations] == [f"model_configuration.{field}"]
    assert key_of(found.effective.primary.connection) is None


def test_a_key_beside_a_reference_is_refused_rather_than_chosen_between() -> None:
    values = {"chat_provider": "openai", "chat_api_key": "sk-a", "chat_secret_ref": "b"}
    found = resolve(snapshot(), values)
    assert [wrong.field for wrong in found.violations] == ["model_configuration.chat_secret_ref"]


def test_chat_and_embedding_are_decided_apart() -> None:
    service = snapshot(None, ENVIRON)
    values = {"chat_provider": "openai", "chat_api_key": "sk-chat", "embedding_provider": "mistral"}
    assert key_of(embedding(service, values).primary.connection) is None
    assert used(chat(service, values)) == ("openai", "", OPENAI, "sk-chat")


# --- Its credential: own, else registered for exactly that provider and endpoint


def test_a_requests_own_key_is_never_replaced_by_a_registered_one() -> None:
    effective = chat(snapshot(None, ENVIRON), {"chat_provider": "openai", "chat_api_key": "sk-own"})
    assert used(effective) == ("openai", "", OPENAI, "sk-own")
    credential = effective.primary.connection.credential
    assert credential is not None
    assert (credential.owner, credential.source) == (Owner.CALLER, Source.REQUEST)


def test_a_tenants_own_credential_is_never_bypassed_for_the_files_or_environments() -> None:
    document = {
        "defaults": {"chat_provider": "openai", "chat_api_key": "sk-file"},
        "tenants": {TENANT: {"credentials": {"openai": {"from": {"env": "OWN"}}}}},
    }
    service = snapshot(document, {**ENVIRON, "OWN": "sk-tenant"})
    assert used(chat(service))[3] == "sk-tenant"
    document["defaults"] = {"chat_provider": "groq"}
    service = snapshot(document, {**ENVIRON, "OWN": "sk-tenant"})
    assert used(chat(service, {"chat_provider": "openai"}))[3] == "sk-tenant"


def test_a_tenants_own_secret_is_never_bypassed_for_one_that_all_share() -> None:
    document = {
        "secrets": {
            "shared": own_secret(),
            "own": own_secret(tenants=[TENANT]) | {"from": {"env": "OWN"}},
        }
    }
    service = snapshot(document, {"SECRET": "sk-shared", "OWN": "sk-tenant"})
    assert used(chat(service, {"chat_provider": "openai"}))[3] == "sk-tenant"


def test_a_tenants_own_secret_is_never_bypassed_for_the_key_of_the_defaults() -> None:
    document = {
        "defaults": {"embedding_provider": "openai", "embedding_api_key": "sk-file"},
        "secrets": {"own": own_secret(tenants=[TENANT])},
    }
    service = snapshot(document, {"SECRET": "sk-tenant"})
    assert used(chat(service, {"chat_provider": "openai"}))[3] == "sk-tenant"


def test_an_unreadable_credential_of_the_tenant_is_never_passed_over_for_the_operators() -> None:
    document = {"tenants": {TENANT: {"credentials": {"openai": {"from": {"env": "GONE"}}}}}}
    effective = chat(snapshot(document, ENVIRON), {"chat_provider": "openai"})
    assert key_of(effective.primary.connection) is None
    assert isinstance(effective.primary.problem, CredentialMissingError)


def test_another_tenants_credential_is_never_used() -> None:
    document = {
        "tenants": {
            "rival": {
                "model_configuration": {"chat_provider": "openai", "chat_api_key": "sk-rival"},
                "credentials": {"groq": {"from": {"env": "RIVAL"}}},
            }
        },
        "secrets": {"rivals": own_secret(provider="mistral", tenants=["rival"])},
    }
    service = snapshot(document, {"RIVAL": "gsk-rival", "SECRET": "sk-rival"})
    for provider in ("openai", "groq", "mistral"):
        assert used(chat(service, {"chat_provider": provider}))[3] is None


def test_file_comes_before_environment_among_registered_credentials() -> None:
    service = snapshot({"secrets": {"shared": own_secret()}}, {**ENVIRON, "SECRET": "sk-file"})
    assert used(chat(service, {"chat_provider": "openai"}))[3] == "sk-file"


# --- One connection of the environment; the file replaces it whole


def test_the_environments_key_goes_to_its_own_base_url() -> None:
    effective = chat(snapshot(None, PROXY), {"chat_provider": "openai"})
    assert used(effective) == ("openai", "", "http://10.0.0.1/v1", "sk-env")
    assert effective.primary.connection.private


@pytest.mark.parametrize(
    "document",
    [
        {"secrets": {"s": own_secret()}},
        {"tenants": {TENANT: {"credentials": {"openai": {"from": {"env": "SECRET"}}}}}},
        {"defaults": {"embedding_provider": "openai", "embedding_api_key": "sk-file"}},
        {"defaults": {"chat_provider": "openai", "chat_api_key": "sk-file"}},
    ],
)
def test_a_key_of_the_file_never_goes_to_the_environments_base_url(
    document: dict[str, Any],
) -> None:
    service = snapshot(document, {**PROXY, "SECRET": "sk-file"})
    effective = chat(service, {"chat_provider": "openai"})
    assert used(effective) == ("openai", "", OPENAI, "sk-file")
    assert not effective.primary.connection.private


def test_the_environments_key_never_goes_to_the_files_entry_for_the_provider() -> None:
    entry = {"provider": "openai", "base_url": CORP}
    service = snapshot({"endpoints": {"openai": entry}}, PROXY)
    assert used(chat(service, {"chat_provider": "openai"})) == ("openai", "", CORP, None)


def test_the_environments_layer_never_brings_its_key_to_the_files_entry_for_the_provider() -> None:
    entry = {"provider": "openai", "base_url": CORP}
    environ = {"CASCADA_CHAT_PROVIDER": "openai", "CASCADA_CHAT_API_KEY": "sk-env"}
    service = snapshot({"endpoints": {"openai": entry}}, environ)
    assert used(chat(service)) == ("openai", "", CORP, None)


def test_an_endpoint_named_like_another_provider_never_shares_its_credential() -> None:
    document = {
        "endpoints": {"openai": {"provider": "groq", "base_url": EDGE}},
        "tenants": {TENANT: {"credentials": {"openai": {"from": {"env": "SECRET"}}}}},
    }
    with pytest.raises(ConfigurationFileError, match=r"endpoints\.openai"):
        parse(document, "f")


# --- Restating


def test_restating_the_inherited_provider_changes_nothing() -> None:
    profile = {"chat_endpoint": "corp", "chat_api_key": "sk-tenant", "chat_model": "m"}
    service = snapshot(
        {"endpoints": ENDPOINTS, "tenants": {TENANT: {"model_configuration": profile}}}, ENVIRON
    )
    effective = chat(service, {"chat_provider": "openai"})
    assert used(effective) == ("openai", "corp", CORP, "sk-tenant")
    assert effective.values.chat_model == "m"
    assert effective.sources["chat_endpoint"] is Source.TENANT
    assert effective.sources["chat_provider"] is Source.REQUEST  # the highest layer that says so


def test_restating_the_provider_with_a_key_never_sends_that_key_to_the_inherited_endpoint() -> None:
    service = snapshot({"endpoints": ENDPOINTS, "defaults": {"chat_endpoint": "corp"}})
    effective = chat(service, {"chat_provider": "openai", "chat_api_key": "sk-own"})
    assert used(effective) == ("openai", "", OPENAI, "sk-own")


def test_restating_with_an_endpoint_never_keeps_the_inherited_key() -> None:
    service = snapshot(
        {
            "endpoints": ENDPOINTS,
            "defaults": {"chat_provider": "openai", "chat_api_key": "sk-file"},
        }
    )
    assert used(chat(service, {"chat_endpoint": "corp"})) == ("openai", "corp", CORP, None)


# --- Secrets by name


@pytest.mark.parametrize(
    "secret",
    [
        own_secret(provider="groq"),
        own_secret(endpoint="corp"),
        own_secret(tenants=["rival"]),
        own_secret(tenants=["rival"]) | {"from": {"env": "GONE"}},
    ],
    ids=["other provider", "other endpoint", "other tenant", "other tenant, unreadable"],
)
def test_a_reference_to_a_secret_that_does_not_fit_looks_like_an_unknown_name(
    secret: dict[str, Any],
) -> None:
    request = {"chat_provider": "openai", "chat_secret_ref": "wanted"}
    environ = {"SECRET": "sk-secret"}
    unknown = chat(snapshot({"endpoints": ENDPOINTS}, environ), request).primary
    refused = chat(
        snapshot({"endpoints": ENDPOINTS, "secrets": {"wanted": secret}}, environ), request
    ).primary
    assert refused.connection == unknown.connection
    assert refused.problem is not None
    assert unknown.problem is not None
    assert str(refused.problem) == str(unknown.problem)
    assert refused.problem.violations == unknown.problem.violations
    assert refused.problem.metadata == unknown.problem.metadata


def test_a_refused_reference_never_falls_through_to_the_environments_key() -> None:
    request = {"chat_provider": "openai", "chat_secret_ref": "wanted"}
    assert used(chat(snapshot(None, ENVIRON), request))[3] is None


def test_a_secret_that_fits_is_used_with_the_callers_name_for_it() -> None:
    service = snapshot({"secrets": {"wanted": own_secret()}}, {"SECRET": "sk-secret"})
    effective = chat(service, {"chat_provider": "openai", "chat_secret_ref": "wanted"})
    credential = effective.primary.connection.credential
    assert credential is not None
    assert (used(effective)[3], credential.reference) == ("sk-secret", "wanted")
    assert credential.owner is Owner.OPERATOR


@pytest.mark.parametrize("kind", ["chat", "embedding"])
def test_a_layer_of_the_file_cannot_name_a_secret_of_another_connection(kind: str) -> None:
    document = {
        "endpoints": ENDPOINTS,
        "secrets": {"public": own_secret()},
        "defaults": {f"{kind}_endpoint": "corp", f"{kind}_secret_ref": "public"},
    }
    with pytest.raises(ConfigurationFileError, match="another provider or endpoint"):
        parse(document, "f")


def test_a_missing_credential_names_the_variable_and_the_field_that_would_supply_it() -> None:
    problem = chat(snapshot(), {"chat_provider": "groq"}).primary.problem
    assert isinstance(problem, CredentialMissingError)
    assert "GROQ_API_KEY" in problem.message
    assert "model_configuration.chat_api_key" in problem.message
    assert problem.metadata["variable"] == "GROQ_API_KEY"


def test_a_missing_credential_of_an_endpoint_never_suggests_the_providers_variable() -> None:
    service = snapshot({"endpoints": ENDPOINTS})
    problem = chat(service, {"chat_endpoint": "corp"}).primary.problem
    assert problem is not None
    assert "OPENAI_API_KEY" not in problem.message
    assert "corp" in problem.message


def test_an_endpoint_without_keys_is_called_without_one() -> None:
    document = {"endpoints": {"lab": {"provider": "openai", "base_url": CORP, "keyless": True}}}
    target = chat(snapshot(document, ENVIRON), {"chat_endpoint": "lab"}).primary
    assert (target.problem, key_of(target.connection)) == (None, None)


# --- Fallbacks belong to the connection

MISTRAL_FALLBACK = {"alternatives": [{"provider": "mistral"}]}


@pytest.mark.parametrize(
    "request_layer",
    [
        {"chat_provider": "groq"},
        {"chat_endpoint": "corp"},
        {"chat_provider": "openai", "chat_api_key": "sk-own"},
    ],
)
def test_a_new_connection_never_falls_back_to_the_alternatives_of_a_lower_layer(
    request_layer: dict[str, Any],
) -> None:
    service = snapshot(
        {
            "endpoints": ENDPOINTS,
            "defaults": {"chat_provider": "openai", "fallbacks": MISTRAL_FALLBACK},
        },
        ENVIRON,
    )
    assert len(chat(service, request_layer).targets) == 1


def test_restating_the_provider_keeps_the_alternatives() -> None:
    service = snapshot({"defaults": {"chat_provider": "openai", "fallbacks": MISTRAL_FALLBACK}})
    assert len(chat(service, {"chat_provider": "openai"}).targets) == 2


def test_an_alternative_never_takes_the_key_of_the_primary() -> None:
    values = {"chat_provider": "openai", "chat_api_key": "sk-own", "fallbacks": MISTRAL_FALLBACK}
    effective = chat(snapshot(), values)
    assert used(effective, 1)[3] is None
    assert effective.targets[1].skip is not None
    assert effective.targets[1].skip.reason is Reason.CREDENTIAL_MISSING


def test_an_alternatives_own_key_never_leaks_to_the_primary() -> None:
    alternatives = [{"provider": "openai", "api_key": "sk-alternative"}]
    values = {"chat_provider": "openai", "fallbacks": {"alternatives": alternatives}}
    effective = chat(snapshot(None, ENVIRON), values)
    assert (used(effective, 0)[3], used(effective, 1)[3]) == ("sk-env", "sk-alternative")


def test_a_request_with_its_own_key_never_falls_back_to_the_operators() -> None:
    values = {
        "chat_provider": "openai",
        "chat_api_key": "sk-own",
        "fallbacks": {"alternatives": [{"provider": "groq"}]},
    }
    skip = chat(snapshot(None, ENVIRON), values).targets[1].skip
    assert skip is not None
    assert skip.reason is Reason.POLICY_VIOLATION


def test_policy_may_let_a_request_with_its_own_key_fall_back_to_the_operators() -> None:
    values = {
        "chat_provider": "openai",
        "chat_api_key": "sk-own",
        "fallbacks": {"alternatives": [{"provider": "groq"}]},
    }
    service = snapshot({"policy": {"operator_fallback": True}}, ENVIRON)
    assert chat(service, values).targets[1].skip is None


def test_a_request_with_its_own_key_may_fall_back_to_another_key_of_its_own() -> None:
    values = {
        "chat_provider": "openai",
        "chat_api_key": "sk-own",
        "fallbacks": {"alternatives": [{"provider": "groq", "api_key": "gsk-own"}]},
    }
    effective = chat(snapshot(None, ENVIRON), values)
    assert effective.targets[1].skip is None
    assert used(effective, 1)[3] == "gsk-own"


def test_an_alternative_without_a_model_takes_its_providers_default() -> None:
    values = {
        "chat_provider": "openai",
        "chat_model": "gpt-4.1",
        "fallbacks": {"alternatives": [{"provider": "groq"}]},
    }
    assert chat(snapshot(None, ENVIRON), values).targets[1].model == "llama-3.3-70b-versatile"


def test_an_alternative_that_cannot_take_an_explicit_option_is_skipped_with_the_reason() -> None:
    values = {
        "chat_provider": "openai",
        "presence_penalty": 0.5,
        "fallbacks": {"alternatives": [{"provider": "groq"}]},
    }
    skip = chat(snapshot(None, ENVIRON), values).targets[1].skip
    assert skip is not None
    assert skip.reason is Reason.CAPABILITY_UNSUPPORTED
    assert "presence_penalty" in skip.detail


# --- Dependent values


def test_a_model_without_a_provider_belongs_to_the_inherited_provider() -> None:
    service = snapshot({"defaults": {"chat_provider": "groq"}}, ENVIRON)
    effective = chat(service, {"chat_model": "gpt-4.1"})
    assert used(effective) == ("groq", "", GROQ, "gsk-env")
    assert effective.primary.model == "gpt-4.1"


def test_a_new_provider_never_inherits_the_model_of_the_old_one() -> None:
    service = snapshot({"defaults": {"chat_provider": "openai", "chat_model": "gpt-4.1"}}, ENVIRON)
    effective = chat(service, {"chat_provider": "groq"})
    assert effective.primary.model == "llama-3.3-70b-versatile"
    assert effective.sources["chat_model"] is Source.DEFAULT
    assert effective.requested_model == ""


def test_another_model_never_inherits_the_dimensions_of_the_old_one() -> None:
    service = snapshot(
        {
            "defaults": {
                "embedding_provider": "openai",
                "embedding_model": "text-embedding-3-large",
                "embedding_dimensions": 256,
            }
        },
        ENVIRON,
    )
    assert embedding(service).values.embedding_dimensions == 256
    other = embedding(service, {"embedding_model": "text-embedding-3-small"})
    assert other.values.embedding_dimensions == 1536
    assert other.primary.options == {}
    moved = embedding(service, {"embedding_provider": "mistral"})
    assert moved.values.embedding_dimensions == 1024


def test_naming_the_same_model_again_keeps_its_dimensions() -> None:
    large = {"embedding_model": "text-embedding-3-large"}
    defaults = {"embedding_provider": "openai", "embedding_dimensions": 256, **large}
    service = snapshot({"defaults": defaults}, ENVIRON)
    assert embedding(service, large).values.embedding_dimensions == 256


# --- Collections


def pin(
    provider: str = "openai", endpoint: str = "", model: str = "text-embedding-3-small"
) -> PinnedSpace:
    space = EmbeddingSpace(ModelProvider(provider), model, 1536, "", endpoint)
    return PinnedSpace(space, endpoint)


def test_a_collections_space_decides_the_embedding_and_takes_a_registered_credential() -> None:
    service = snapshot({"defaults": {"embedding_provider": "mistral"}}, ENVIRON)
    effective = embedding(service, pinned=pin())
    assert used(effective) == ("openai", "", OPENAI, "sk-env")
    assert effective.sources["embedding_model"] is Source.COLLECTION
    assert effective.space == pin().space


def test_a_collection_at_an_endpoint_never_carries_the_tenants_key_of_the_provider_there() -> None:
    profile = {"embedding_provider": "openai", "embedding_api_key": "sk-tenant"}
    service = snapshot(
        {"endpoints": ENDPOINTS, "tenants": {TENANT: {"model_configuration": profile}}}, ENVIRON
    )
    assert used(embedding(service, pinned=pin(endpoint="corp"))) == ("openai", "corp", CORP, None)


def test_a_collection_of_the_providers_own_service_is_never_read_through_an_endpoint() -> None:
    profile = {"embedding_endpoint": "corp", "embedding_api_key": "sk-corp"}
    service = snapshot(
        {"endpoints": ENDPOINTS, "tenants": {TENANT: {"model_configuration": profile}}}, ENVIRON
    )
    effective = embedding(service, pinned=pin())
    assert used(effective) == ("openai", "", OPENAI, "sk-env")
    assert effective.space == pin().space


def test_a_requests_embedding_fields_outrank_the_collections_so_that_they_can_be_compared() -> None:
    effective = embedding(snapshot(None, ENVIRON), {"embedding_provider": "mistral"}, pinned=pin())
    assert effective.space is not None
    assert effective.space != pin().space


def test_an_endpoints_space_is_its_name_unless_it_declares_one() -> None:
    endpoints = {
        "corp": {"provider": "openai", "base_url": CORP},
        "twin": {"provider": "openai", "base_url": EDGE, "space": "corp"},
    }
    service = snapshot({"endpoints": endpoints})
    spaces = [embedding(service, {"embedding_endpoint": name}).space for name in endpoints]
    assert spaces[0] is not None
    assert spaces[0].endpoint_space == "corp"
    assert spaces[0] == spaces[1]


def test_the_space_declared_for_what_replaces_a_providers_service_holds() -> None:
    entry = {"provider": "openai", "base_url": CORP, "space": "ours"}
    service = snapshot({"endpoints": {"openai": entry}})
    space = embedding(service, {"embedding_provider": "openai"}).space
    assert space is not None
    assert space.endpoint_space == "ours"


def test_a_model_behind_an_address_is_not_the_one_in_this_process() -> None:
    server = {"provider": "local", "base_url": "http://127.0.0.1:8080/v1", "private": True}
    found = chat(snapshot({"endpoints": {"server": server}}), {"chat_endpoint": "server"})
    assert used(found) == ("local", "server", "http://127.0.0.1:8080/v1", None)
    assert used(chat(snapshot())) == ("local", "", "", None)


def test_a_key_for_the_model_in_the_process_is_refused_and_not_passed_over() -> None:
    asked_for = {"chat_provider": "local", "chat_api_key": "sk-own"}
    problem = chat(snapshot(None, {}), asked_for).primary.problem
    assert isinstance(problem, InvalidConfigurationError)
    assert [wrong.field for wrong in problem.violations] == ["model_configuration.chat_api_key"]
