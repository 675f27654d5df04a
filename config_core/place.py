"""Where a connection goes, and what the deciding layer says of its credential."""

from dataclasses import dataclass

from pydantic import SecretStr

from config_core.configuration_file import SecretEntry
from config_core.model_configuration import ModelProvider
from config_core.source import Source


@dataclass(frozen=True, slots=True)
class Place:
    """A provider's own service, or a registered endpoint; `Place.of` makes one."""

    provider: ModelProvider
    endpoint: str = ""

    @classmethod
    def of(cls, provider: ModelProvider, endpoint: str | None) -> "Place":
        """The place; an endpoint that is named like its provider is the provider's own service."""
        return cls(provider, "" if endpoint is None or endpoint == provider else endpoint)

    @property
    def entry_name(self) -> str:
        """The name under which the configuration file would have it."""
        return self.endpoint or str(self.provider)

    @property
    def is_in_process(self) -> bool:
        """Whether it is the model in the service's own process."""
        return self.provider is ModelProvider.LOCAL and not self.endpoint

    def fits(self, secret: SecretEntry) -> bool:
        """Whether the secret is registered for exactly this place."""
        return Place.of(secret.provider, secret.endpoint) == self


@dataclass(frozen=True, slots=True)
class Claim:
    """What the deciding layer says of the credential: its own key, a reference, or neither."""

    source: Source
    key: SecretStr | None = None
    reference: str | None = None
    alternative: int | None = None
    """Which of the fallbacks makes the claim; `None` for the connection itself."""
