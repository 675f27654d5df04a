"""PREFERENCE: model_preferences in the request, the short form of a chat choice."""

from dataclasses import dataclass

from pydantic import ValidationError

from config_core.errors import Violation
from config_core.layer import Layer
from config_core.model_configuration import ModelConfiguration, set_fields
from config_core.source import Source
from config_core.validation import problems_of

_FIELDS = {"chat_provider": "provider", "chat_model": "model"}


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences as they came: plain strings, "" where nothing is preferred."""

    provider: str = ""
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None


def layer(preferences: Preferences) -> tuple[Layer, list[Violation]]:
    """The layer that the preferences make, and everything that is wrong with them."""
    given = {
        "chat_provider": preferences.provider.strip() or None,
        "chat_model": preferences.model.strip() or None,
        "temperature": preferences.temperature,
        "max_tokens": preferences.max_tokens,
    }
    violations: list[Violation] = []
    try:
        configuration = ModelConfiguration.model_validate(given)
    except ValidationError as error:
        for path, why in problems_of(error):
            violations.append(Violation(f"model_preferences.{_FIELDS.get(path, path)}", why))
            given[path] = None
        configuration = ModelConfiguration.model_validate(given)
    return Layer(Source.PREFERENCE, set_fields(configuration)), violations
