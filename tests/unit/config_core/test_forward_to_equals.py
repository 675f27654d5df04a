"""Over hops that share a file: the next one resolves what the first one said, layers and all."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config_core.errors import Reason
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.snapshot import Snapshot
from config_core.source import Source
from config_core.sources.collection import PinnedSpace
from config_core.sources.preferences import Preferences
from config_core.space import EmbeddingSpace
from tests.unit.config_core.support import (
    CORP,
    ENDPOINTS,
    TENANT,
    asked,
    chat,
    embedding,
    next_hop,
    snapshot,
    used,
)

GATEWAY = "https://gateway.example/v1"
SHARED: dict[str, Any] = {
    "endpoints": {**ENDPOINTS, "openai": {"provider": "openai", "base_url": GATEWAY}},
    "tenants": {
        TENANT: {
            "model_configuration": {
                "chat_endpoint": "corp",
                "chat_model": "gpt-4o",
                "embedding_endpoint": "corp",
            },
            "credentials": {
                "corp": {"from": {"env": "CORP_KEY"}},
                "openai": {"from": {"env": "GATEWAY_KEY"}},
            },
        }
    },
}
KEYS = {"CORP_KEY": "sk-corp", "GATEWAY_KEY": "sk-gateway", "GROQ_API_KEY": "gsk-env"}
OWN_SERVICE = ("openai", "", GATEWAY, "sk-gateway")

_PLACES = st.sampled_from(
    [
        {},
        {"chat_provider": "openai"},
        {"chat_provider": "groq"},
        {"chat_provider": "openai", "chat_api_key": "sk-own"},
        {"chat_endpoint": "corp"},
        {"chat_endpoint": "edge"},
        {"chat_endpoint": "openai"},
    ]
)
_MODELS = st.sampled_from([{}, {"chat_model": "gpt-4.1"}, {"chat_model": "o3"}])
_PREFERRED = st.builds(
    Preferences,
    provider=st.sampled_from(["", "openai", "groq", "mistral"]),
    model=st.sampled_from(["", "gpt-4.1"]),
)
_OPTIONS = {"openai": {"service_tier": "flex", "user": "u"}, "groq": {"user": "g"}}


def _layer(place: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    return {**place, **model}


_LAYERS = st.builds(_layer, _PLACES, _MODELS)


@given(file=_LAYERS, tenant=_LAYERS, preferred=_PREFERRED, request=_LAYERS, attach=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_hop_with_the_same_layers_resolves_the_same(
    file: dict[str, Any],
    tenant: dict[str, Any],
    preferred: Preferences,
    request: dict[str, Any],
    *,
    attach: bool,
) -> None:
    keyless = {name: value for name, value in tenant.items() if name != "chat_api_key"}
    document = {
        "endpoints": SHARED["endpoints"],
        "defaults": file,
        "tenants": {TENANT: {"model_configuration": keyless}},
    }
    service = snapshot(document, KEYS)
    first = service.resolve("chat", TENANT, asked(request, preferred)).effective
    second = service.resolve("chat", TENANT, next_hop(first, attach=attach)).effective
    third = service.resolve("chat", TENANT, next_hop(second, attach=attach)).effective
    for later in (second, third):
        assert used(later) == used(first)
        assert later.sources == first.sources
        assert later.digest == first.digest


def _hops(
    kind: ConnectionKind, request: dict[str, Any], preferred: Preferences | None = None
) -> list[tuple[str, str, str, str | None]]:
    """Where each of three hops over the same file would go, and with whose key."""
    service = snapshot(SHARED, KEYS)
    found = [service.resolve(kind, TENANT, asked(request, preferred)).require()]
    for _hop in range(2):
        found.append(service.resolve(kind, TENANT, next_hop(found[-1])).require())
    return [used(effective) for effective in found]


def test_a_request_for_the_providers_own_service_never_ends_at_the_tenants_endpoint() -> None:
    assert _hops("chat", {"chat_endpoint": "openai"}) == [OWN_SERVICE] * 3
    assert _hops("embedding", {"embedding_endpoint": "openai"}) == [OWN_SERVICE] * 3


def test_a_provider_that_replaces_the_preferred_one_is_not_the_tenants_at_the_next_hop() -> None:
    request, preferred = {"chat_provider": "openai"}, Preferences(provider="groq")
    assert _hops("chat", request, preferred) == [OWN_SERVICE] * 3


def test_the_default_model_of_a_provider_that_replaces_the_preferred_one_stays() -> None:
    service = snapshot(SHARED, KEYS)
    request = {"chat_endpoint": "corp"}
    here = chat(service, request, preferred=Preferences(provider="groq"))
    there = service.resolve("chat", TENANT, next_hop(here)).require()
    assert here.primary.model == there.primary.model == "gpt-4.1-mini"
    assert there.sources["chat_model"] is Source.DEFAULT
    assert used(there) == ("openai", "corp", CORP, "sk-corp")


def test_the_providers_own_service_does_not_get_round_the_next_hops_fixed_endpoint() -> None:
    sent = next_hop(chat(snapshot(SHARED, KEYS), {"chat_endpoint": "openai"}))
    receiver = snapshot({**SHARED, "policy": {"locks": {"chat_endpoint": "corp"}}}, KEYS)
    violations = receiver.resolve("chat", TENANT, sent).violations
    assert [violation.reason for violation in violations] == [Reason.POLICY_VIOLATION]
    receiver = snapshot({**SHARED, "policy": {"locks": {"chat_endpoint": "openai"}}}, KEYS)
    assert used(receiver.resolve("chat", TENANT, sent).require()) == OWN_SERVICE


def test_options_of_a_provider_that_only_the_next_hop_calls_go_along() -> None:
    sent = next_hop(chat(snapshot(), {"provider_configs": _OPTIONS}))
    receiver = snapshot({"defaults": {"chat_provider": "openai"}}, {"OPENAI_API_KEY": "sk"})
    there = receiver.resolve("chat", TENANT, sent).require()
    assert there.primary.provider_options == {"service_tier": "flex"}
    assert there.sources["provider_configs.openai.service_tier"] is Source.REQUEST


def test_options_of_the_provider_that_a_collection_names_go_along() -> None:
    document = {"defaults": {"provider_configs": _OPTIONS}}
    sent = next_hop(embedding(snapshot(document)))
    pinned = PinnedSpace(EmbeddingSpace(ModelProvider.OPENAI, "text-embedding-3-small", 1536))
    there = snapshot().resolve("embedding", TENANT, sent, pinned).require()
    assert there.primary.provider_options == {"user": "u"}
    assert there.sources["provider_configs.openai.user"] is Source.FILE


def test_options_of_chat_that_wait_do_not_go_to_the_embedding_service() -> None:
    sent = next_hop(embedding(snapshot(), {"provider_configs": _OPTIONS}))
    assert [dict(known.fields) for known in sent.layers] == [
        {"provider_configs": {"openai": {"user": "u"}}}
    ]


@pytest.mark.parametrize("beneath", [{"chat_provider": "openai"}, {"chat_endpoint": "corp"}])
@pytest.mark.parametrize("origin", ["environment", "file", "tenant"])
def test_an_alternative_of_the_operators_keeps_the_key_that_stands_at_both_hops(
    origin: str, beneath: dict[str, str]
) -> None:
    alternatives = [{"provider": "groq", "api_key": "gsk-alternative"}, {"provider": "mistral"}]
    values = {**beneath, "fallbacks": {"alternatives": alternatives}}
    document: dict[str, Any] = {"endpoints": ENDPOINTS}
    variables = {"OPENAI_API_KEY": "sk-env", "GROQ_API_KEY": "gsk-env", "MISTRAL_API_KEY": "ms-env"}
    if origin == "environment":
        for name, value in values.items():
            variables[f"CASCADA_{name.upper()}"] = (
                value if isinstance(value, str) else json.dumps(value)
            )
    elif origin == "file":
        document["defaults"] = values
    else:
        document["tenants"] = {TENANT: {"model_configuration": values}}
    service = snapshot(document, variables)
    here = chat(service)
    there = service.resolve("chat", TENANT, next_hop(here)).require()
    assert [used(there, index)[3] for index in (1, 2)] == ["gsk-alternative", "ms-env"]
    assert [used(there, index) for index in range(3)] == [used(here, index) for index in range(3)]


@pytest.mark.parametrize("endpoint", ["corp", "openai"])
def test_the_key_of_the_tenants_profile_stands_before_its_other_one_at_each_hop(
    endpoint: str,
) -> None:
    tenant = {
        **SHARED["tenants"][TENANT],
        "model_configuration": {"chat_endpoint": endpoint, "chat_api_key": "sk-profile"},
    }
    service = snapshot({**SHARED, "tenants": {TENANT: tenant}}, KEYS)
    here = chat(service)
    there = service.resolve("chat", TENANT, next_hop(here)).require()
    assert used(there) == used(here)
    assert used(here)[3] == "sk-profile"


def test_an_attached_key_goes_before_the_next_hops_own_one_of_the_same_layer() -> None:
    def service(key: str) -> Snapshot:
        values = {"chat_endpoint": "corp", "chat_api_key": key}
        return snapshot({"endpoints": ENDPOINTS, "defaults": values})

    sent = next_hop(chat(service("sk-sender")), attach=True)
    there = service("sk-own").resolve("chat", TENANT, sent).require()
    assert used(there) == ("openai", "corp", CORP, "sk-sender")


def test_a_key_that_stands_at_other_alternatives_is_not_taken() -> None:
    values = {"fallbacks": {"alternatives": [{"provider": "groq"}]}}
    sent = next_hop(chat(snapshot({"defaults": values})))
    own = {"provider": "groq", "model": "other", "api_key": "gsk-own"}
    receiver = snapshot({"defaults": {"fallbacks": {"alternatives": [own]}}})
    alternative = receiver.resolve("chat", TENANT, sent).require().targets[1]
    assert alternative.model == "llama-3.3-70b-versatile"
    assert alternative.connection.credential is None
