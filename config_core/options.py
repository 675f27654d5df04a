"""The options that the layers set together, and what a target takes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config_core.model_configuration import ModelProvider
from config_core.option_rules import refusal
from config_core.source import Source


@dataclass(frozen=True, slots=True)
class Options:
    """The merged options, before it is known what a target takes of them."""

    values: Mapping[str, Any]
    sources: Mapping[str, Source]
    provider: Mapping[str, Mapping[str, tuple[Any, Source]]]

    def for_provider(self, provider: str, allowed: Mapping[str, str]) -> dict[str, Any]:
        """The provider's own options of one operation."""
        return {
            name: value
            for name, (value, _) in self.provider.get(provider, {}).items()
            if name in allowed
        }

    def split(self, provider: ModelProvider, model: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The options that a target takes, and why it does not take the others."""
        taken, refused = {}, {}
        for name, value in self.values.items():
            why = refusal(provider, model, name, value)
            if why is None:
                taken[name] = value
            else:
                refused[name] = why
        return taken, refused
