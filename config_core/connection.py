"""A connection: provider, endpoint and credential, decided together and never taken apart."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

from config_core.model_configuration import ModelProvider
from config_core.source import Source

PUBLIC_BASE_URL: dict[ModelProvider, str] = {
    ModelProvider.OPENAI: "https://api.openai.com/v1",
    ModelProvider.GROQ: "https://api.groq.com",
    ModelProvider.MISTRAL: "https://api.mistral.ai",
}
"""Where each provider's own service is, in the form that its SDK takes."""


class Owner(StrEnum):
    """Whose key it is: who pays, who may see its fingerprint, whose circuit a refusal opens."""

    CALLER = "caller"
    TENANT = "tenant"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Credential:
    """A key, the layer that it came from and whose it is. `repr` never shows the key."""

    key: SecretStr
    source: Source
    owner: Owner
    reference: str = ""
    """The registered secret that was asked for by name; "" where none was."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a provider is called and with whose key, which goes to `base_url` and nowhere else."""

    provider: ModelProvider
    endpoint: str
    """Name of the registered endpoint; "" for the provider's own service."""
    base_url: str
    """In the form that the provider's SDK takes; "" for the model in this process."""
    private: bool
    """Whether the operator allows a private or loopback address."""
    source: Source
    """The layer that decided the connection."""
    credential: Credential | None = None
    space: str = ""
    """The endpoint's declared embedding space; "" for the provider's own service."""
    keyless: bool = False
    """Whether calls need no key."""
    sent: bool = False
    """Whether an earlier service attached it to the request, and so meant it for whoever calls."""

    @property
    def is_callers(self) -> bool:
        """Whether the call is made with the caller's or tenant's own key."""
        return self.credential is not None and self.credential.owner is not Owner.OPERATOR

    @property
    def protocol(self) -> ModelProvider:
        """Whose protocol it speaks: a local model behind an address speaks OpenAI's."""
        if self.provider is ModelProvider.LOCAL and self.base_url:
            return ModelProvider.OPENAI
        return self.provider
