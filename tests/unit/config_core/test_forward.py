"""Over the hops: what is forwarded, and that it gives the same configuration where it arrives."""

from typing import Any

import pytest
from cascada.config.v1 import provenance_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from config_core import convert, convert_provenance
from config_core.connection import Owner
from config_core.errors import CredentialMissingError, PermissionDeniedError
from config_core.forward import forward
from config_core.model_configuration import ConnectionKind, ModelConfiguration, ModelProvider
from config_core.source import Source
from config_core.sources.collection import PinnedSpace
from config_core.sources.request import Incoming
from config_core.space import EmbeddingSpace
from tests.unit.config_core.support import (
    CORP,
    ENDPOINTS,
    OPENAI,
    TENANT,
    chat,
    embedding,
    layer,
    next_hop,
    resolve,
    snapshot,
    used,
)

EMPTY = snapshot()
_MODELS = ("gpt-4.1", "o3", "gpt-4o")
_EMBEDDING = ("text-embedding-3-small", "text-embedding-ada-002", "unheard-of")
_PROVIDERS = ("openai", "groq", "mistral", "local")
_LAYER: dict[str, st.SearchStrategy[Any]] = {
    "chat_provider": st.sampled_from(_PROVIDERS),
    "chat_model": st.sampled_from(_MODELS),
    "temperature": st.sampled_from([0, 0.5, 1, 1.8]),
    "max_tokens": st.integers(1, 9),
    "presence_penalty": st.sampled_from([0, 1]),
    "stop": st.sampled_from([[], ["a"], ["a", "b", "c", "d", "e"]]),
    "retry_attempts": st.integers(0, 3),
    "timeout_seconds": st.sampled_from([5, 7.5]),
    "embedding_provider": st.sampled_from(("openai", "mistral", "local")),
    "embedding_model": st.sampled_from(_EMBEDDING),
    "embedding_dimensions": st.sampled_from([256, 1536]),
    "provider_configs": st.just(
        {"openai": {"store": True}, "groq": {"user": "u"}, "local": {"repeat_penalty": 1.0}}
    ),
    "fallbacks": st.sampled_from(
        [{"alternatives": []}, {"alternatives": [{"provider": "groq"}, {"provider": "local"}]}]
    ),
}
_VALUES = st.fixed_dictionaries({}, optional=_LAYER)


@given(defaults=_VALUES, profile=_VALUES, request=_VALUES, key=st.booleans(), pinned=st.booleans())
@settings(max_examples=250, deadline=None)
@pytest.mark.parametrize("kind", ["chat", "embedding"])
def test_a_hop_with_no_layers_of_its_own_resolves_the_same(
    kind: ConnectionKind,
    defaults: dict[str, Any],
    profile: dict[str, Any],
    request: dict[str, Any],
    *,
    key: bool,
    pinned: bool,
) -> None:
    sender = snapshot({"defaults": defaults, "tenants": {TENANT: {"model_configuration": profile}}})
    if key and f"{kind}_provider" in request:
        request = {**request, f"{kind}_api_key": "sk-own"}
    space = EmbeddingSpace(ModelProvider.OPENAI, "text-embedding-3-small", 1536)
    found = resolve(
        sender,
        request,
        kind=kind,
        pinned=PinnedSpace(space) if pinned and kind == "embedding" else None,
    )
    if found.violations:
        return
    there = EMPTY.resolve(kind, TENANT, next_hop(found.effective)).require()
    assert there.values == found.effective.values
    assert there.digest == found.effective.digest
    sources = dict(found.effective.sources)
    if found.effective.primary.connection.provider is ModelProvider.LOCAL:
        # Where a layer goes back to what is built in, the next hop has nothing else in between.
        sources[f"{kind}_provider"] = there.sources[f"{kind}_provider"]
    assert there.sources == sources
    assert [used(there, n)[3] for n in range(len(there.targets))] == [
        used(found.effective, n)[3] for n in range(len(found.effective.targets))
    ]
    assert [t.provider_options for t in there.targets] == [
        t.provider_options for t in found.effective.targets
    ]


def test_what_only_the_defaults_set_is_not_forwarded() -> None:
    sent = forward([chat(snapshot()), embedding(snapshot())])
    assert sent.configuration == ModelConfiguration()
    assert next_hop(chat(snapshot())).layers == ()


def test_the_embedding_service_never_sees_anything_of_chat() -> None:
    values = {
        "chat_provider": "openai",
        "chat_api_key": "sk-canary-chat",
        "fallbacks": {"alternatives": [{"provider": "groq", "api_key": "sk-canary-fallback"}]},
        "temperature": 1,
        "stop": ["x"],
        "provider_configs": {"openai": {"store": True}},
        "embedding_provider": "mistral",
        "embedding_api_key": "sk-embedding",
    }
    environ = {"OPENAI_API_KEY": "sk-canary-env", "GROQ_API_KEY": "sk-canary-groq"}
    sent = forward([embedding(snapshot(None, environ), values)], attach_credentials=True)
    wire = convert.to_wire(sent.configuration).SerializeToString()
    wire += convert_provenance.provenance_to_wire(sent).SerializeToString()
    assert b"canary" not in wire
    assert b"sk-embedding" in wire
    fields = {"embedding_provider", "embedding_api_key"}
    assert {f.name for f, _ in convert.to_wire(sent.configuration).ListFields()} == fields


def test_an_operators_key_never_leaves_unless_the_service_is_told_to_attach_it() -> None:
    service = snapshot(
        {"defaults": {"chat_provider": "openai", "chat_api_key": "sk-canary-file"}},
        {"GROQ_API_KEY": "sk-canary-env"},
    )
    values = {"fallbacks": {"alternatives": [{"provider": "groq"}]}}
    sent = forward([chat(service, values)])
    wire = convert.to_wire(sent.configuration).SerializeToString()
    wire += convert_provenance.provenance_to_wire(sent).SerializeToString()
    assert b"canary" not in wire


def test_an_attached_key_arrives_with_its_own_address_and_owner() -> None:
    service = snapshot(
        {
            "endpoints": ENDPOINTS,
            "tenants": {
                TENANT: {
                    "model_configuration": {"chat_endpoint": "corp"},
                    "credentials": {"corp": {"from": {"env": "OWN"}}},
                }
            },
        },
        {"OWN": "sk-tenant"},
    )
    sent = next_hop(chat(service), attach=True)
    receiver = snapshot(None, {"OPENAI_API_KEY": "sk-there"})
    there = receiver.resolve("chat", TENANT, sent).require()
    assert used(there) == ("openai", "corp", CORP, "sk-tenant")
    credential = there.primary.connection.credential
    assert credential is not None
    assert (credential.owner, credential.source) == (Owner.TENANT, Source.TENANT)


def test_an_attached_reference_answers_for_exactly_that_secret() -> None:
    secret = {"provider": "openai", "tenants": ["*"], "from": {"env": "SECRET"}}
    service = snapshot({"secrets": {"shared": secret}}, {"SECRET": "sk-secret"})
    asked_for = {"chat_provider": "openai", "chat_secret_ref": "shared"}
    sent = next_hop(chat(service, asked_for), attach=True)
    there = snapshot(None, {"OPENAI_API_KEY": "sk-there"}).resolve("chat", TENANT, sent)
    assert used(there.require()) == ("openai", "", OPENAI, "sk-secret")


def test_a_key_is_not_attached_to_an_alternative_that_policy_forbids() -> None:
    values = {
        "chat_provider": "openai",
        "chat_api_key": "sk-own",
        "fallbacks": {"alternatives": [{"provider": "groq"}]},
    }
    sent = forward(
        [chat(snapshot(None, {"GROQ_API_KEY": "gsk-env"}), values)], attach_credentials=True
    )
    assert [(found.provider, found.api_key) for found in sent.connections] == [("openai", None)]


def test_a_keyless_endpoint_is_known_at_the_next_hop_too() -> None:
    endpoints = {"lab": {"provider": "openai", "base_url": CORP, "keyless": True, "private": True}}
    sent = next_hop(chat(snapshot({"endpoints": endpoints}), {"chat_endpoint": "lab"}), attach=True)
    target = EMPTY.resolve("chat", TENANT, sent).require().primary
    assert (target.connection.base_url, target.connection.keyless) == (CORP, True)
    assert target.connection.private
    assert target.problem is None


def test_a_locked_provider_never_replaces_the_callers_key_at_the_next_hop() -> None:
    service = snapshot({"policy": {"locks": {"chat_provider": "openai"}}})
    values = {"chat_provider": "openai", "chat_api_key": "sk-own"}
    receiver = snapshot(None, {"OPENAI_API_KEY": "sk-there"})
    there = receiver.resolve("chat", TENANT, next_hop(chat(service, values))).require()
    assert used(there)[3] == "sk-own"


def test_a_locked_value_goes_on_as_the_operators_word_and_never_as_a_lock() -> None:
    service = snapshot({"policy": {"locks": {"temperature": 0.5}}})
    sent = next_hop(chat(service))
    assert [found.source for found in sent.layers] == [Source.TENANT]


def test_a_provider_that_a_request_restates_outranks_the_next_hops_own_tenant() -> None:
    service = snapshot({"defaults": {"chat_provider": "openai", "chat_model": "gpt-4.1"}})
    sent = next_hop(chat(service, {"chat_provider": "openai"}))
    receiver = snapshot({"tenants": {TENANT: {"model_configuration": {"chat_provider": "groq"}}}})
    assert receiver.resolve("chat", TENANT, sent).require().values.chat_provider == "openai"


def test_restating_the_built_in_provider_outranks_the_next_hops_own_tenant() -> None:
    sent = next_hop(chat(snapshot(), {"chat_provider": "local"}))
    receiver = snapshot({"tenants": {TENANT: {"model_configuration": {"chat_provider": "groq"}}}})
    assert receiver.resolve("chat", TENANT, sent).require().values.chat_provider == "local"


def test_forwarded_fields_keep_their_rank_below_the_next_hops_own_layers() -> None:
    sent = next_hop(chat(snapshot(None, {"CASCADA_TEMPERATURE": "0.5", "CASCADA_SEED": "1"})))
    there = snapshot({"defaults": {"temperature": 1.5}}).resolve("chat", TENANT, sent).require()
    assert there.values.temperature == 1.5
    assert there.sources["seed"] is Source.ENVIRONMENT


def test_the_next_hops_own_credential_of_the_tenant_is_never_bypassed_for_the_senders() -> None:
    service = snapshot({"defaults": {"chat_provider": "openai"}}, {"OPENAI_API_KEY": "sk-sender"})
    sent = next_hop(chat(service), attach=True)
    receiver = snapshot(
        {"tenants": {TENANT: {"credentials": {"openai": {"from": {"env": "OWN"}}}}}},
        {"OWN": "sk-tenant"},
    )
    assert used(receiver.resolve("chat", TENANT, sent).require())[3] == "sk-tenant"


def test_a_callers_key_for_the_senders_endpoint_never_goes_to_the_public_service() -> None:
    sent = provenance_pb2.Provenance()
    sent.connections.add(provider=1, endpoint="corp", base_url=CORP, api_key="sk-sender", source=6)
    values = ModelConfiguration.model_validate({"chat_endpoint": "corp", "chat_api_key": "sk-own"})
    incoming = convert_provenance.incoming(
        convert.to_wire(values), wire_provenance=sent, trusted=True
    )
    there = EMPTY.resolve("chat", TENANT, incoming).require()
    assert used(there) == ("openai", "corp", CORP, "sk-own")


def test_a_forwarded_connection_without_an_address_goes_to_the_providers_public_one() -> None:
    sent = provenance_pb2.Provenance()
    sent.connections.add(provider=1, api_key="sk-sender", source=6)
    values = convert.to_wire(ModelConfiguration(chat_provider=ModelProvider.OPENAI))
    incoming = convert_provenance.incoming(values, wire_provenance=sent, trusted=True)
    there = snapshot(None, {"OPENAI_BASE_URL": CORP}).resolve("chat", TENANT, incoming).require()
    assert used(there) == ("openai", "", OPENAI, "sk-sender")


def test_a_forwarded_endpoint_that_declares_no_space_has_its_names() -> None:
    sent = provenance_pb2.Provenance()
    sent.connections.add(provider=1, endpoint="corp", base_url=CORP, api_key="sk", source=6)
    values = convert.to_wire(ModelConfiguration(embedding_endpoint="corp"))
    incoming = convert_provenance.incoming(values, wire_provenance=sent, trusted=True)
    space = EMPTY.resolve("embedding", TENANT, incoming).require().space
    assert space is not None
    assert space.endpoint_space == "corp"


@pytest.mark.parametrize("number", [0, 1, 99])
def test_a_credential_is_never_believed_to_be_locked_nor_from_an_unknown_source(
    number: int,
) -> None:
    sent = provenance_pb2.Provenance()
    connection = sent.connections.add(provider=1, api_key="sk-sender")
    connection.source = number  # type: ignore[assignment]  # as a newer sender could
    found = convert_provenance.incoming(
        convert.to_wire(ModelConfiguration()), wire_provenance=sent, trusted=True
    )
    assert found.connections[0].source is Source.FILE


def test_provenance_from_a_stranger_is_not_believed() -> None:
    service = snapshot({"defaults": {"temperature": 1.5}})
    sent = forward([chat(service)])
    found = convert_provenance.incoming(
        convert.to_wire(sent.configuration),
        wire_provenance=convert_provenance.provenance_to_wire(sent),
    )
    assert [known.source for known in found.layers] == [Source.REQUEST]


def test_a_stranger_cannot_forward_a_connection() -> None:
    sent = provenance_pb2.Provenance()
    sent.connections.add(provider=1, base_url="https://evil.example", api_key="sk-canary")
    with pytest.raises(PermissionDeniedError) as refused:
        convert_provenance.incoming(convert.to_wire(ModelConfiguration()), wire_provenance=sent)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("source", [0, 1, 42])
def test_a_field_forwarded_as_locked_or_of_no_known_source_counts_as_the_requests(
    source: int,
) -> None:
    sent = provenance_pb2.Provenance()
    sent.layers.add(source=source, fields=[4, 999])
    values = convert.to_wire(ModelConfiguration(temperature=1.0))
    found = convert_provenance.incoming(values, wire_provenance=sent, trusted=True)
    assert [(known.source, dict(known.fields)) for known in found.layers] == [
        (Source.REQUEST, {"temperature": 1.0})
    ]


def test_without_a_key_anywhere_the_hop_that_calls_says_so() -> None:
    sent = next_hop(chat(snapshot(), {"chat_provider": "groq"}), attach=True)
    problem = EMPTY.resolve("chat", TENANT, sent).require().primary.problem
    assert isinstance(problem, CredentialMissingError)


def test_a_key_that_claims_a_layer_apart_from_its_provider_is_never_used() -> None:
    layers = (
        layer(Source.REQUEST, chat_api_key="sk-apart"),
        layer(Source.FILE, chat_provider="openai"),
    )
    there = EMPTY.resolve("chat", TENANT, Incoming(layers)).effective
    assert used(there) == ("openai", "", OPENAI, None)


# --- The address that travels with the request's own key

GATEWAY = {"OPENAI_BASE_URL": "https://gateway.example/v1"}


def test_the_requests_own_key_goes_to_the_address_that_the_sender_resolved() -> None:
    own = {"chat_provider": "openai", "chat_api_key": "sk-own"}
    sent = next_hop(chat(snapshot(None, GATEWAY), own), attach=True)
    there = snapshot(None, {}).resolve("chat", TENANT, sent).require()
    assert used(there) == ("openai", "", GATEWAY["OPENAI_BASE_URL"], "sk-own")


def test_what_was_forwarded_with_one_request_is_unknown_to_the_next() -> None:
    sender = snapshot({"endpoints": ENDPOINTS}, {"OPENAI_API_KEY": "sk-env"})
    sent = next_hop(chat(sender, {"chat_endpoint": "corp", "chat_api_key": "sk-own"}), attach=True)
    receiver = snapshot()
    assert receiver.registry(TENANT, sent).provider_of("corp") is ModelProvider.OPENAI
    assert receiver.registry(TENANT).provider_of("corp") is None


def test_the_address_for_the_requests_key_never_gets_the_receivers_own_key() -> None:
    own = {
        "chat_provider": "openai",
        "chat_api_key": "sk-own",
        "fallbacks": {"alternatives": [{"provider": "openai", "model": "m"}]},
    }
    sent = next_hop(chat(snapshot(None, GATEWAY), own), attach=True)
    there = snapshot(None, {"OPENAI_API_KEY": "sk-there"}).resolve("chat", TENANT, sent).require()
    assert used(there, 1) == ("openai", "", OPENAI, "sk-there")
