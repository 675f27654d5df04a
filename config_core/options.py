"""The options that the layers set together, and what a target takes of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from config_core.capabilities import MATRIX, provider_options
from config_core.effective import Target
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.option_rules import refusals
from config_core.source import Source


@dataclass(frozen=True, slots=True)
class Options:
    """The merged options, before it is known what a target takes of them."""

    values: Mapping[str, Any]
    sources: Mapping[str, Source]
    provider: Mapping[str, Mapping[str, tuple[Any, Source]]]

    def for_provider(self, provider: str, allowed: Mapping[str, str]) -> dict[str, Any]:
        """The provider's own options of one operation."""
        given = self.provider.get(provider)
        if given is None:
            return {}
        return {name: value for name, (value, _) in given.items() if name in allowed}

    def waiting(
        self, kind: ConnectionKind, called: Iterable[Target]
    ) -> Mapping[str, Mapping[str, tuple[Any, Source]]]:
        """The options of one operation for the providers that are not called, by provider."""
        providers = {target.connection.provider for target in called}
        return {
            provider: {
                name: each
                for name, each in given.items()
                if name in provider_options(ModelProvider(provider), kind)
            }
            for provider, given in self.provider.items()
            if provider in MATRIX and provider not in providers
        }

    def split(
        self, provider: ModelProvider, model: str
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The options that a target takes, and why it does not take the others."""
        refused = refusals(provider, model, self.values)
        if not refused:
            return self.values, refused
        taken = {name: value for name, value in self.values.items() if name not in refused}
        return taken, refused
