"""What a provider or model cannot take: refused to a request, dropped and reported below it."""

import math
from typing import Any

import pytest
from cascada.config.v1 import configuration_source_pb2

from config_core.capabilities import MATRIX
from config_core.convert_effective import effective_to_wire
from config_core.errors import CapabilityUnsupportedError, Reason
from config_core.forward import forward
from config_core.model_configuration import ModelProvider
from config_core.option_rules import is_reasoning_model, option_problem
from config_core.source import Source
from tests.unit.config_core.support import chat, embedding, resolve, snapshot

STOPS = ["a", "b", "c", "d", "e"]
# What is asked of chat, and whether it can be had.
ROWS: list[tuple[dict[str, Any], str]] = [
    ({"chat_provider": "groq", "frequency_penalty": 1}, "frequency_penalty"),
    ({"chat_provider": "groq", "presence_penalty": 1}, "presence_penalty"),
    ({"chat_provider": "mistral", "temperature": 1.6}, "temperature"),
    ({"chat_provider": "openai", "stop": STOPS}, "stop"),
    ({"chat_provider": "groq", "stop": STOPS}, "stop"),
    ({"chat_provider": "openai", "chat_model": "o3-mini", "temperature": 0}, "temperature"),
    ({"chat_provider": "openai", "chat_model": "gpt-5", "top_p": 0.5}, "top_p"),
    ({"chat_provider": "openai", "chat_model": "o1", "stop": ["a"]}, "stop"),
    (
        {"chat_provider": "openai", "chat_model": "o4-mini", "presence_penalty": 1},
        "presence_penalty",
    ),
]


@pytest.mark.parametrize(("values", "option"), ROWS)
def test_an_option_that_the_request_set_is_refused(values: dict[str, Any], option: str) -> None:
    found = resolve(snapshot(), values)
    assert [(v.field, v.reason) for v in found.violations] == [
        (f"model_configuration.{option}", Reason.CAPABILITY_UNSUPPORTED)
    ]
    with pytest.raises(CapabilityUnsupportedError):
        found.require()


@pytest.mark.parametrize(("values", "option"), ROWS)
def test_an_option_that_a_lower_layer_set_is_dropped_and_reported(
    values: dict[str, Any], option: str
) -> None:
    effective = chat(snapshot({"defaults": values}))
    reported = {dropped.field: dropped.source for dropped in effective.dropped}
    assert reported[option] is Source.FILE
    assert option not in effective.primary.options
    assert getattr(effective.values, option) is None


@pytest.mark.parametrize(
    "values",
    [
        {"chat_provider": "mistral", "temperature": 1.5},
        {"chat_provider": "mistral", "stop": STOPS},
        {"chat_provider": "openai", "stop": STOPS[:4]},
        {"chat_provider": "openai", "chat_model": "gpt-5", "temperature": 1},
        {"chat_provider": "openai", "chat_model": "gpt-5-chat-latest", "temperature": 0},
        {"chat_provider": "openai", "chat_model": "gpt-4o", "top_p": 0.5},
        {"chat_provider": "groq", "chat_model": "o3", "temperature": 0},
    ],
)
def test_what_can_be_had_is_passed_on(values: dict[str, Any]) -> None:
    effective = chat(snapshot(), values)
    for name in set(values) - {"chat_provider", "chat_model"}:
        assert name in effective.primary.options


def test_an_unsupported_option_goes_to_the_alternative_where_the_caller_asks_for_that() -> None:
    values = {
        "chat_provider": "groq",
        "presence_penalty": 1,
        "fallbacks": {
            "alternatives": [{"provider": "openai"}],
            "fallback_on": ["capability_unsupported"],
        },
    }
    effective = chat(snapshot(None, {"OPENAI_API_KEY": "sk", "GROQ_API_KEY": "gsk"}), values)
    skips = [target.skip and target.skip.reason for target in effective.targets]
    assert skips == [Reason.CAPABILITY_UNSUPPORTED, None]
    assert effective.targets[1].options["presence_penalty"] == 1


def test_what_an_alternative_drops_is_reported_by_its_place_and_stays_with_the_primary() -> None:
    document = {
        "defaults": {
            "chat_provider": "openai",
            "presence_penalty": 1,
            "fallbacks": {"alternatives": [{"provider": "openai"}, {"provider": "groq"}]},
        }
    }
    effective = chat(snapshot(document, {"OPENAI_API_KEY": "sk", "GROQ_API_KEY": "gsk"}))
    assert effective.primary.options["presence_penalty"] == 1
    assert "presence_penalty" not in effective.targets[2].options
    (told,) = effective_to_wire(effective).dropped
    assert told.field == "fallbacks.alternatives[1].presence_penalty"
    assert told.source == configuration_source_pb2.CONFIGURATION_SOURCE_FILE
    assert told.reason == "groq does not take presence_penalty"


def test_what_only_an_alternative_drops_still_goes_to_the_next_hop() -> None:
    document = {
        "defaults": {
            "chat_provider": "openai",
            "presence_penalty": 1,
            "fallbacks": {"alternatives": [{"provider": "groq"}]},
        }
    }
    keys = {"OPENAI_API_KEY": "sk", "GROQ_API_KEY": "gsk"}
    sent = forward([chat(snapshot(document, keys))])
    assert sent.configuration.presence_penalty == 1
    assert sent.provenance.fields["presence_penalty"] is Source.FILE
    assert not any("[" in field for field in sent.provenance.fields)


def test_groq_has_no_embeddings_and_no_call_is_needed_to_say_so() -> None:
    found = resolve(snapshot(), {"embedding_provider": "groq"}, kind="embedding")
    assert [v.reason for v in found.violations] == [Reason.CAPABILITY_UNSUPPORTED]
    assert found.violations[0].field == "model_configuration.embedding_provider"


@pytest.mark.parametrize(
    ("model", "dimensions", "fits"),
    [
        ("text-embedding-ada-002", 512, False),
        ("text-embedding-ada-002", 1536, True),
        ("text-embedding-3-small", 512, True),
        ("text-embedding-3-small", 1537, False),
        ("unheard-of", 512, True),
    ],
)
def test_dimensions_are_asked_only_of_models_that_have_them(
    model: str, dimensions: int, *, fits: bool
) -> None:
    values = {
        "embedding_provider": "openai",
        "embedding_model": model,
        "embedding_dimensions": dimensions,
    }
    found = resolve(snapshot(), values, kind="embedding")
    assert (not found.violations) is fits
    below = embedding(snapshot({"defaults": values}))
    assert [dropped.field for dropped in below.dropped] == (
        [] if fits else ["embedding_dimensions"]
    )


def test_dimensions_are_sent_only_where_the_model_would_give_others() -> None:
    base = {"embedding_provider": "openai", "embedding_model": "text-embedding-3-small"}
    service = snapshot()
    assert embedding(service, {**base, "embedding_dimensions": 1536}).primary.options == {}
    shorter = embedding(service, {**base, "embedding_dimensions": 256}).primary
    assert shorter.options == {"dimensions": 256}


def test_reasoning_models_are_told_by_name_and_only_at_openai() -> None:
    names = ["o1", "o3", "o4-mini", "gpt-5", "gpt-5.1", "gpt-5-mini"]
    assert all(is_reasoning_model(ModelProvider.OPENAI, name) for name in names)
    others = ["gpt-4o", "gpt-5-chat-latest", "o30", "omni", "gpt-50"]
    assert not any(is_reasoning_model(ModelProvider.OPENAI, name) for name in others)
    assert not is_reasoning_model(ModelProvider.GROQ, "o3")


def test_every_provider_has_a_row() -> None:
    assert set(MATRIX) == set(ModelProvider)


# --- provider_configs


@pytest.mark.parametrize(
    ("provider", "option", "value"),
    [
        ("openai", "max_completion_tokens", 5),
        ("openai", "api_key", "sk-canary"),
        ("openai", "base_url", "https://evil.example"),
        ("openai", "extra_headers", {"Authorization": "canary"}),
        ("groq", "user", "https://evil.example/canary"),
        ("openai", "metadata", {"note": "https://evil.example/canary"}),
        ("openai", "metadata", {"deep": [{"x": "ftp://canary"}]}),
        ("openai", "metadata", {"api_key": "sk-canary"}),
        ("openai", "metadata", {"a": {"client_secret": "canary"}}),
        ("openai", "store", "canary"),
        ("openai", "store", 1),
        ("local", "top_k", True),
        ("local", "min_p", math.nan),
        ("openai", "logit_bias", {"50256": [-math.inf]}),
        ("azure", "store", True),
        ("OpenAI", "store", True),
    ],
)
def test_an_unknown_option_or_one_that_smells_is_refused_without_showing_its_value(
    provider: str, option: str, value: object
) -> None:
    found = resolve(snapshot(), {"provider_configs": {provider: {option: value}}})
    fields = [wrong.field for wrong in found.violations]
    assert fields == [f"model_configuration.provider_configs.{provider}.{option}"]
    assert "canary" not in str(found.violations)


@pytest.mark.parametrize(
    ("provider", "option", "value"),
    [
        ("openai", "store", False),
        ("openai", "metadata", {"author": "ann", "keyword": "x", "n": [1, {"y": None}]}),
        ("openai", "logit_bias", {"50256": -100}),
        ("local", "top_k", 0),
        ("groq", "user", "ann"),
    ],
)
def test_a_listed_option_is_taken(provider: str, option: str, value: object) -> None:
    assert option_problem(provider, option, value) is None
