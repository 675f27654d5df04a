"""A layer: what one source sets, ready to be merged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config_core.model_configuration import ModelConfiguration, set_fields
from config_core.source import Source

_PREFERENCE_FIELDS = {"chat_provider": "provider", "chat_model": "model"}


def field_path(source: Source, name: str) -> str:
    """Where people find a field that this layer set: in the request, or at the operator's."""
    if source is Source.REQUEST:
        return f"model_configuration.{name}"
    if source is Source.PREFERENCE:
        return f"model_preferences.{_PREFERENCE_FIELDS.get(name, name)}"
    return f"{source.name.lower()}.{name}"


@dataclass(frozen=True, slots=True)
class Layer:
    """The fields that one source sets; `forwarded` ones came over the wire from another service."""

    source: Source
    fields: Mapping[str, Any]
    forwarded: bool = False
    blank: frozenset[str] = frozenset()
    """Endpoint or model that it leaves empty on purpose: nothing of the layers below holds."""

    @classmethod
    def of(cls, source: Source, configuration: ModelConfiguration) -> "Layer":
        """The layer that a configuration makes."""
        return cls(source, set_fields(configuration))
