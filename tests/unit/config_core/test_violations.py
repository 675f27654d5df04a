"""Violations: all at once, each at the caller's own field."""

import pytest

from config_core.errors import InvalidConfigurationError, PolicyViolationError, Reason, Violation
from config_core.resolve import error_of
from config_core.sources import preferences
from config_core.sources.preferences import Preferences
from tests.unit.config_core.support import resolve, snapshot


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    found = resolve(
        snapshot({"policy": {"bounds": {"max_tokens": {"max": 5}}}}),
        {
            "temperature": 9,
            "retry_attempts": -1,
            "max_tokens": 6,
            "embedding_api_key": "sk-lone",
            "chat_endpoint": "nowhere",
            "provider_configs": {"openai": {"nonsense": 1}},
        },
        preferred=Preferences(provider="nobody", temperature=7.0),
    )
    assert {wrong.field for wrong in found.violations} == {
        "model_configuration.temperature",
        "model_configuration.retry_attempts",
        "model_configuration.max_tokens",
        "model_configuration.embedding_api_key",
        "model_configuration.chat_endpoint",
        "model_configuration.provider_configs.openai.nonsense",
        "model_preferences.provider",
        "model_preferences.temperature",
    }
    with pytest.raises(InvalidConfigurationError) as raised:
        found.require()
    assert raised.value.violations[-1].reason is Reason.POLICY_VIOLATION
    assert len(raised.value.violations) == 8


def test_what_is_valid_beside_what_is_not_is_still_resolved() -> None:
    found = resolve(snapshot(), {"temperature": 9, "seed": 4})
    assert found.effective.values.seed == 4


@pytest.mark.parametrize(
    ("preferred", "field"),
    [
        (Preferences(provider="nobody"), "provider"),
        (Preferences(model="a\nb"), "model"),
        (Preferences(temperature=3), "temperature"),
        (Preferences(max_tokens=0), "max_tokens"),
    ],
)
def test_a_wrong_preference_is_named_as_the_caller_wrote_it(
    preferred: Preferences, field: str
) -> None:
    _, violations = preferences.layer(preferred)
    assert [wrong.field for wrong in violations] == [f"model_preferences.{field}"]


def test_preferences_take_any_case_and_nothing_for_nothing() -> None:
    layer, violations = preferences.layer(Preferences(provider=" GROQ ", model=" m "))
    assert (dict(layer.fields), violations) == ({"chat_provider": "groq", "chat_model": "m"}, [])
    assert preferences.layer(Preferences())[0].fields == {}


def test_an_alternative_without_provider_or_endpoint_is_refused() -> None:
    found = resolve(snapshot(), {"fallbacks": {"alternatives": [{"model": "m"}]}})
    assert [v.field for v in found.violations] == ["model_configuration.fallbacks.alternatives[0]"]


def test_the_error_is_the_first_kind_of_the_table_and_carries_the_others() -> None:
    unsupported = Violation("a", "x", Reason.CAPABILITY_UNSUPPORTED)
    broken = Violation("b", "y", Reason.POLICY_VIOLATION)
    error = error_of([unsupported, broken])
    assert isinstance(error, PolicyViolationError)
    assert error.violations == (broken, unsupported)
    assert error.message == "b: y (and 1 more)"
