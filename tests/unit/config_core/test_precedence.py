"""The table of layers: the higher wins, and presence decides."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config_core.configuration_file import ConfigurationFile
from config_core.credentials import Credentials
from config_core.effective import EffectiveConfiguration
from config_core.layer import Layer
from config_core.model_configuration import (
    CONNECTION_FIELDS,
    ConnectionKind,
    Fallback,
    FallbackCondition,
    Fallbacks,
    ModelConfiguration,
    ModelProvider,
)
from config_core.policy import Policy
from config_core.registry import Registry
from config_core.resolve import resolve
from config_core.rules import Rules
from config_core.secrets import LocalSecrets
from config_core.source import Source
from config_core.sources.defaults import DEFAULT_LAYER
from config_core.sources.environment import Environment
from tests.unit.config_core.support import asked, chat, snapshot

CHAT = (
    "temperature",
    "max_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
)
LIMITS = ("timeout_seconds", "retry_attempts", "attempt_timeout_seconds")
CONNECTION = {name for names in CONNECTION_FIELDS.values() for name in names}

_NAMES = st.text("abcdefg-0123", min_size=1, max_size=8)
_SECONDS = st.floats(0.001, 3600)
_FALLBACKS = st.builds(
    Fallbacks,
    alternatives=st.lists(
        st.builds(Fallback, provider=st.sampled_from(ModelProvider), model=_NAMES), max_size=3
    ).map(tuple),
    fallback_on=st.lists(st.sampled_from(FallbackCondition), max_size=2, unique=True).map(tuple),
)
# The local provider takes every option, so that what is resolved is what a layer has set.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "chat_model": _NAMES,
    "temperature": st.floats(0, 2),
    "max_tokens": st.integers(1, 10_000_000),
    "embedding_model": _NAMES,
    "embedding_dimensions": st.integers(1, 16_384),
    "timeout_seconds": _SECONDS,
    "retry_attempts": st.integers(0, 10),
    "provider_configs": st.fixed_dictionaries(
        {"local": st.fixed_dictionaries({"top_k": st.integers(0, 100)})}
    ),
    "top_p": st.floats(0.001, 1),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "seed": st.integers(0, 2**63 - 1),
    "stop": st.lists(st.text("ab", min_size=1, max_size=3), max_size=4).map(tuple),
    "attempt_timeout_seconds": _SECONDS,
    "first_token_timeout_seconds": _SECONDS,
    "stall_timeout_seconds": _SECONDS,
    "fallbacks": _FALLBACKS,
}
# Of a model that is known, only some lengths are possible.
UNKNOWN_MODEL = Layer(Source.DEFAULT, {"embedding_model": "unheard-of"})
LAYERS = [source for source in Source if source is not Source.LOCKED]


def _resolved(kind: ConnectionKind, layers: list[Layer], policy: Policy) -> EffectiveConfiguration:
    document, environment = ConfigurationFile(), Environment(ModelConfiguration(), {})
    credentials = Credentials(document, environment, LocalSecrets({}), "t")
    registry = Registry(document, environment, credentials)
    return resolve(kind, [DEFAULT_LAYER, *layers], registry, Rules.of(policy), "v").effective


def _fields_of(kind: ConnectionKind) -> Iterator[str]:
    for name in VALUES:
        if name in LIMITS or name.startswith("embedding") == (kind == "embedding"):
            yield name


def _layer(source: Source, name: str, value: object) -> Layer:
    return Layer.of(source, ModelConfiguration.model_validate({name: value}))


def test_every_field_but_those_of_the_connection_is_tried_here() -> None:
    assert set(VALUES) | CONNECTION == set(ModelConfiguration.model_fields)


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_of_two_layers_that_set_a_field_the_higher_wins(name: str, data: st.DataObject) -> None:
    for high, low in combinations(LAYERS, 2):
        upper, lower = data.draw(VALUES[name]), data.draw(VALUES[name])
        layers = [UNKNOWN_MODEL, _layer(high, name, upper), _layer(low, name, lower)]
        kind: ConnectionKind = "embedding" if name.startswith("embedding") else "chat"
        effective = _resolved(kind, layers, Policy())
        found = (
            effective.values.fallbacks if name == "fallbacks" else getattr(effective.values, name)
        )
        assert found == upper
        if name == "provider_configs":
            assert effective.sources["provider_configs.local.top_k"] is high
        else:
            assert effective.sources[name] is high


@pytest.mark.parametrize("kind", ["chat", "embedding"])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_each_field_comes_from_the_highest_of_any_layers_in_any_order(
    kind: ConnectionKind, data: st.DataObject
) -> None:
    fields = [name for name in _fields_of(kind) if name != "embedding_dimensions"]
    stack: dict[Source, dict[str, Any]] = {
        source: data.draw(
            st.fixed_dictionaries({}, optional={name: VALUES[name] for name in fields})
        )
        for source in LAYERS
    }
    layers = [
        Layer.of(source, ModelConfiguration.model_validate(values))
        for source, values in stack.items()
    ]
    effective = _resolved(kind, data.draw(st.permutations(layers)), Policy())
    for name in fields:
        if name == "provider_configs" and kind == "embedding":
            continue
        setting = [source for source in LAYERS if name in stack[source]]
        if setting:
            assert getattr(effective.values, name) == stack[setting[0]][name]
        elif name in DEFAULT_LAYER.fields:
            assert getattr(effective.values, name) == DEFAULT_LAYER.fields[name]
            assert effective.sources[name] is Source.DEFAULT
        else:
            assert getattr(effective.values, name) is None
            assert name not in effective.sources


@pytest.mark.parametrize("name", [name for name in VALUES if name in {*CHAT, *LIMITS}])
def test_a_lock_supplies_its_value_over_every_layer(name: str) -> None:
    example = {"stop": ("x",), "top_p": 0.5}.get(name, 1)
    other = {"stop": ("y",), "top_p": 0.25}.get(name, 2)
    locks = ModelConfiguration.model_validate({name: example})
    effective = _resolved("chat", [_layer(Source.TENANT, name, other)], Policy(locks=locks))
    assert getattr(effective.values, name) == example
    assert effective.sources[name] is Source.LOCKED


@pytest.mark.parametrize(
    ("name", "zero", "other"),
    [
        ("temperature", 0.0, 1.5),
        ("retry_attempts", 0, 5),
        ("frequency_penalty", 0.0, 1.0),
        ("presence_penalty", 0.0, 1.0),
        ("seed", 0, 7),
        ("stop", (), ("END",)),
        (
            "fallbacks",
            Fallbacks(),
            Fallbacks(alternatives=(Fallback(provider=ModelProvider.GROQ),)),
        ),
    ],
)
def test_zero_in_a_higher_layer_is_a_value_and_not_absence(
    name: str, zero: object, other: object
) -> None:
    service = snapshot(
        {
            "defaults": ModelConfiguration.model_validate({name: other}).model_dump(
                exclude_none=True, mode="json"
            )
        }
    )
    assert getattr(chat(service, {name: zero}).values, name) == zero
    assert getattr(chat(service).values, name) == other


def test_options_of_providers_are_resolved_one_by_one() -> None:
    service = snapshot({"defaults": {"provider_configs": {"local": {"top_k": 3, "min_p": 0.1}}}})
    effective = chat(service, {"provider_configs": {"local": {"top_k": 9}}})
    assert effective.values.provider_configs == {"local": {"top_k": 9, "min_p": 0.1}}
    assert effective.sources["provider_configs.local.top_k"] is Source.REQUEST
    assert effective.sources["provider_configs.local.min_p"] is Source.FILE


def test_options_of_another_provider_stay_out_of_the_effective_values() -> None:
    service = snapshot({"defaults": {"provider_configs": {"groq": {"user": "u"}}}})
    assert chat(service).values.provider_configs is None


def test_a_request_that_sets_nothing_runs_on_the_built_in_defaults() -> None:
    effective = chat(snapshot())
    assert effective.values.chat_provider is ModelProvider.LOCAL
    assert set(effective.sources.values()) == {Source.DEFAULT}
    assert effective.requested_model == ""
    assert asked().violations == ()


def test_of_two_layers_of_one_rank_the_forwarded_wins() -> None:
    own = _layer(Source.TENANT, "temperature", 0.5)
    sent = Layer(Source.TENANT, {"temperature": 1.5}, forwarded=True)
    for layers in ([own, sent], [sent, own]):
        assert _resolved("chat", layers, Policy()).values.temperature == 1.5
