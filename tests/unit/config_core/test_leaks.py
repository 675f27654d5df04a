"""A canary key in every field that can hold one shows nowhere."""

import dataclasses
import json
import traceback
from typing import Any

import pytest
from pydantic import SecretStr

from config_core import convert, forward
from config_core.convert_effective import effective_to_wire
from config_core.effective import EffectiveConfiguration, canonical_values
from config_core.file_reader import version_of
from config_core.model_configuration import Fallback, ModelConfiguration
from config_core.settings import Settings
from config_core.sources import request
from tests.unit.config_core.support import (
    CORP,
    ENDPOINTS,
    TENANT,
    asked,
    chat,
    embedding,
    next_hop,
    resolve,
    snapshot,
)

CANARY = "canary"
REQUEST: dict[str, Any] = {
    "chat_provider": "openai",
    "chat_api_key": "sk-canary-request",
    "embedding_provider": "openai",
    "embedding_api_key": "sk-canary-embedding",
    "fallbacks": {"alternatives": [{"provider": "groq", "api_key": "sk-canary-fallback"}]},
}
DOCUMENT: dict[str, Any] = {
    "defaults": REQUEST,
    "tenants": {
        TENANT: {
            "model_configuration": {"chat_provider": "groq", "chat_api_key": "sk-canary-tenant"},
            "credentials": {"mistral": {"from": {"env": "OWN"}}},
            "policy": {
                "locks": {"embedding_provider": "mistral", "embedding_api_key": "sk-canary-l"}
            },
        }
    },
    "endpoints": ENDPOINTS,
    "secrets": {
        "shared": {"provider": "openai", "endpoint": "corp", "tenants": ["*"], "from": {"env": "S"}}
    },
}
ENVIRON = {
    "OPENAI_API_KEY": "sk-canary-openai",
    "GROQ_API_KEY": "sk-canary-groq",
    "CASCADA_CHAT_PROVIDER": "mistral",
    "CASCADA_CHAT_API_KEY": "sk-canary-mistral",
    "OWN": "sk-canary-own",
    "S": "sk-canary-shared",
}
ASKED: list[dict[str, Any]] = [
    {},
    REQUEST,
    {"chat_provider": "mistral"},
    {"chat_endpoint": "corp"},
    {"chat_endpoint": "corp", "chat_secret_ref": "shared"},
]
FINGERPRINTS = SecretStr("fingerprint-canary-key")


def _effectives() -> list[EffectiveConfiguration]:
    service = snapshot(DOCUMENT, ENVIRON)
    found = [chat(service, values) for values in ASKED]
    return [*found, resolve(service, REQUEST, kind="embedding").effective]


def _keys(effective: EffectiveConfiguration) -> int:
    return sum(target.connection.credential is not None for target in effective.targets)


def test_the_canaries_are_really_there() -> None:
    assert all(_keys(effective) for effective in _effectives())


@pytest.mark.parametrize("show", [repr, str])
def test_no_object_shows_a_key(show: Any) -> None:
    service = snapshot(DOCUMENT, ENVIRON)
    effectives = _effectives()
    incoming = next_hop(*effectives, attach=True)
    assert incoming.connections
    sent = forward.forward(effectives, attach_credentials=True)
    shown = [
        service,
        service.document,
        service.environment,
        service.secrets,
        service.registry(TENANT, incoming),
        service.rules(TENANT),
        asked(REQUEST),
        incoming,
        sent,
        sent.configuration,
        convert.from_wire(convert.to_wire(sent.configuration)),
        Settings.read({"CASCADA_FINGERPRINT_KEY": "canary"}),
        *effectives,
        *(target for effective in effectives for target in effective.targets),
        *(resolve(service, values) for values in ASKED),
    ]
    for found in shown:
        assert CANARY not in show(found)


def test_no_key_is_serialised_by_accident() -> None:
    configuration = ModelConfiguration.model_validate(REQUEST)
    assert CANARY not in configuration.model_dump_json()
    assert CANARY not in str(configuration.model_dump())
    assert CANARY not in snapshot(DOCUMENT, ENVIRON).document.model_dump_json()


def test_no_key_is_in_what_a_caller_gets_nor_in_what_the_digest_is_made_of() -> None:
    for effective in _effectives():
        message = effective_to_wire(effective, fingerprint_key=FINGERPRINTS)
        assert CANARY not in str(message)
        assert CANARY.encode() not in message.SerializeToString()
        assert CANARY not in json.dumps(canonical_values(effective.values))
        assert not message.values.chat_api_key
        assert CANARY not in effective.snapshot_version
        assert CANARY not in str(dataclasses.asdict(effective)["values"])


def test_the_digest_leaves_keys_out_wherever_they_stand() -> None:
    fallbacks = ModelConfiguration.model_validate({"fallbacks": REQUEST["fallbacks"]})
    assert "api_key" not in json.dumps(canonical_values(fallbacks), default=str)


def test_the_digest_does_not_depend_on_keys() -> None:
    service = snapshot()
    assert (
        chat(service, REQUEST).digest
        == chat(service, json.loads(json.dumps(REQUEST).replace(CANARY, "other"))).digest
    )


def test_the_digest_depends_on_address_values_and_what_was_dropped() -> None:
    base = chat(snapshot(), {"chat_provider": "openai"}).digest
    addressed = snapshot(None, {"OPENAI_BASE_URL": CORP})
    dropped = snapshot({"defaults": {"stop": list("abcde")}})
    others = {
        chat(addressed, {"chat_provider": "openai"}).digest,
        chat(snapshot(), {"chat_provider": "openai", "seed": 0}).digest,
        chat(dropped, {"chat_provider": "openai"}).digest,
    }
    assert len({base, *others}) == 4


def test_a_number_is_in_the_digest_in_one_form() -> None:
    values = {"timeout_seconds": 30.0, "provider_configs": {"local": {"min_p": 1.0}}}
    found = canonical_values(ModelConfiguration.model_validate(values))
    assert json.dumps(found) == (
        '{"timeout_seconds": 30, "provider_configs": {"local": {"min_p": 1}}}'
    )


def test_the_version_of_a_document_is_the_same_for_other_keys() -> None:
    assert version_of(DOCUMENT) == version_of(json.loads(json.dumps(DOCUMENT).replace(CANARY, "x")))


def test_only_the_owner_is_shown_a_fingerprint() -> None:
    operator = effective_to_wire(
        chat(snapshot(None, ENVIRON), {"chat_provider": "openai"}), fingerprint_key=FINGERPRINTS
    )
    assert dict(operator.key_fingerprints) == {}
    own = effective_to_wire(chat(snapshot(), REQUEST), fingerprint_key=FINGERPRINTS)
    assert set(own.key_fingerprints) == {"chat", "fallbacks.0"}
    assert len(set(own.key_fingerprints.values())) == 2
    assert all(len(text) == 12 for text in own.key_fingerprints.values())


def test_without_a_fingerprint_key_there_are_no_fingerprints() -> None:
    assert dict(effective_to_wire(chat(snapshot(), REQUEST)).key_fingerprints) == {}


def test_a_tenant_that_calls_itself_everyone_is_not_shown_the_operators_fingerprint() -> None:
    document = {
        "endpoints": ENDPOINTS,
        "secrets": DOCUMENT["secrets"],
    }
    effective = chat(snapshot(document, ENVIRON), {"chat_endpoint": "corp"}, tenant="*")
    message = effective_to_wire(effective, fingerprint_key=FINGERPRINTS)
    assert dict(message.key_fingerprints) == {}


@pytest.mark.parametrize(
    "values",
    [
        {"chat_api_key": "sk-canary"},
        {"chat_provider": "openai", "chat_api_key": "sk canary"},
        {"chat_provider": "openai", "chat_api_key": "sk-canary", "chat_secret_ref": "s"},
        {"chat_provider": "sk-canary"},
        {"chat_model": "sk-canary\n"},
        {"temperature": "sk-canary"},
        {"chat_secret_ref": "sk/canary"},
        {"fallbacks": {"alternatives": [{"provider": "openai", "api_key": "sk canary"}]}},
        {"fallbacks": {"alternatives": [{"api_key": "sk-canary"}]}},
        {"provider_configs": {"openai": {"api_key": "sk-canary"}}},
        {"provider_configs": {"openai": {"reasoning_effort": ["sk-canary"]}}},
    ],
)
def test_no_violation_shows_a_value(values: dict[str, Any]) -> None:
    found = resolve(snapshot(), values)
    assert found.violations
    assert CANARY not in repr(found)
    with pytest.raises(Exception) as raised:  # noqa: PT011  # whichever it is
        found.require()
    assert CANARY not in "".join(traceback.format_exception(raised.value))


def test_problems_of_credentials_show_none() -> None:
    service = snapshot(DOCUMENT, ENVIRON)
    wrong = {"chat_provider": "openai", "chat_secret_ref": "shared"}
    problem = chat(service, wrong).primary.problem
    assert problem is not None
    assert CANARY not in "".join(traceback.format_exception(problem))


def test_every_field_that_holds_a_secret_masks_it() -> None:
    for model in (ModelConfiguration, Fallback):
        named = [name for name in model.model_fields if name.endswith("api_key")]
        assert named
        for name in named:
            assert CANARY not in repr(model.model_validate({name: "sk-canary"}))


def test_a_request_for_embeddings_shows_its_key_to_nobody() -> None:
    effective = embedding(snapshot(), {k: v for k, v in REQUEST.items() if "embedding" in k})
    assert CANARY not in repr(effective)
    layers, violations = request.layers({"embedding_api_key": "sk-canary"}, None)
    assert violations
    assert CANARY not in repr((layers, violations))
