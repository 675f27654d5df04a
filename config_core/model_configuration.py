"""The model configuration: everything that a caller may choose about a model, for one request.

`ModelConfiguration` is both a layer (what one source sets; `None` means "not set here") and, once
resolved, the values that run. It is frozen, refuses unknown fields and never prints a secret.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    WithJsonSchema,
)

MAX_STOP_SEQUENCES = 16
MAX_FALLBACKS = 8

_NAME = re.compile(r"[^\x00-\x20\x7f]+(?: [^\x00-\x20\x7f]+)*")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ModelProvider(StrEnum):
    """Who serves a model. The wire enum `cascada.config.v1.ModelProvider` has the same members."""

    OPENAI = "openai"
    GROQ = "groq"
    MISTRAL = "mistral"
    LOCAL = "local"


KEYED_PROVIDERS = (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
"""The providers whose own service takes a key."""


class FallbackCondition(StrEnum):
    """A failure that falls back only where the caller asks for it."""

    CAPABILITY_UNSUPPORTED = "capability_unsupported"
    CONTENT_REFUSED = "content_refused"


def _provider(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must not be empty or contain control characters or outer spaces")
    return value


def _reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError("must be a registered name: letters, digits, '.', '_' and '-'")
    return value


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a non-empty key of visible ASCII characters")
    return value


Provider = Annotated[ModelProvider, BeforeValidator(_provider)]
ModelName = Annotated[str, Field(max_length=256), AfterValidator(_name)]
ReferenceName = Annotated[str, AfterValidator(_reference)]
ApiKey = Annotated[
    SecretStr,
    Field(max_length=4096),
    AfterValidator(_secret),
    WithJsonSchema({"type": "string", "format": "password", "writeOnly": True}),
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
StopSequence = Annotated[str, Field(min_length=1, max_length=256)]


class FrozenModel(BaseModel):
    """The base of every configuration model: frozen, closed, and silent about its inputs."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


class Fallback(FrozenModel):
    """One alternative for chat, tried when what came before it has failed."""

    provider: Provider | None = None
    """Who serves the alternative; implied where `endpoint` is set."""
    model: ModelName | None = None
    """The model; absent, the provider's default model."""
    endpoint: ReferenceName | None = None
    """An endpoint that the operator registered."""
    api_key: ApiKey | None = None
    """The key for exactly this provider and endpoint."""
    secret_ref: ReferenceName | None = None
    """A registered secret for exactly this provider and endpoint."""


class Fallbacks(FrozenModel):
    """The ordered alternatives for chat. Present and empty clears those of a lower layer."""

    alternatives: Annotated[tuple[Fallback, ...], Field(max_length=MAX_FALLBACKS)] = ()
    fallback_on: tuple[FallbackCondition, ...] = ()

    def without_keys(self) -> "Fallbacks":
        """The same alternatives, none with a key."""
        if all(alternative.api_key is None for alternative in self.alternatives):
            return self
        return Fallbacks(
            alternatives=tuple(
                alternative.model_copy(update={"api_key": None})
                for alternative in self.alternatives
            ),
            fallback_on=self.fallback_on,
        )


class ModelConfiguration(FrozenModel):
    """Every choice about models that a layer can make; `None` leaves it to the next layer."""

    chat_model: ModelName | None = None
    """Chat model. Without a provider in the same layer it belongs to the inherited provider."""
    chat_provider: Provider | None = None
    """Who serves chat."""
    chat_api_key: ApiKey | None = None
    """Key for the chat provider or endpoint named in the same layer."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    """Sampling temperature, 0 to 2; 0 is deterministic sampling."""
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The most tokens that an answer may have."""
    embedding_model: ModelName | None = None
    """Embedding model."""
    embedding_provider: Provider | None = None
    """Who serves embeddings."""
    embedding_api_key: ApiKey | None = None
    """Key for the embedding provider or endpoint named in the same layer."""
    embedding_dimensions: Annotated[int, Field(ge=1, le=16_384)] | None = None
    """Length of a vector; belongs to the model, absent means the model's own."""
    timeout_seconds: Seconds | None = None
    """Limit for the whole operation, in seconds, attempts and waits included."""
    retry_attempts: Annotated[int, Field(ge=0, le=10)] | None = None
    """Retries after the first attempt, for each connection; 0 turns them off."""
    provider_configs: Mapping[ReferenceName, Mapping[str, JsonValue]] | None = None
    """Options by provider name, each from the list of that provider's adapter."""
    chat_secret_ref: ReferenceName | None = None
    """A registered secret for chat, instead of a key."""
    embedding_secret_ref: ReferenceName | None = None
    """A registered secret for embeddings, instead of a key."""
    chat_endpoint: ReferenceName | None = None
    """A registered endpoint for chat; it implies its provider."""
    embedding_endpoint: ReferenceName | None = None
    """A registered endpoint for embeddings; it implies its provider."""
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Nucleus sampling: the probability mass to sample from."""
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    """Penalty on tokens by how often they occurred."""
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    """Penalty on tokens that occurred at all."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    """Seed of the sampling, where the provider has one."""
    stop: Annotated[tuple[StopSequence, ...], Field(max_length=MAX_STOP_SEQUENCES)] | None = None
    """Texts at which generation stops; an empty list clears those of a lower layer."""
    attempt_timeout_seconds: Seconds | None = None
    """Limit for one unary attempt, in seconds; absent means what is left of the deadline."""
    first_token_timeout_seconds: Seconds | None = None
    """Limit for the first token of a stream, in seconds."""
    stall_timeout_seconds: Seconds | None = None
    """Limit for silence between two pieces of a stream, in seconds."""
    fallbacks: Fallbacks | None = None
    """Alternatives for chat; present and empty clears those of a lower layer."""


ConnectionKind = Literal["chat", "embedding"]

SECRET_FIELDS: frozenset[str] = frozenset({"chat_api_key", "embedding_api_key"})
CONNECTION_FIELDS: dict[ConnectionKind, tuple[str, ...]] = {
    "chat": ("chat_provider", "chat_endpoint", "chat_api_key", "chat_secret_ref"),
    "embedding": (
        "embedding_provider",
        "embedding_endpoint",
        "embedding_api_key",
        "embedding_secret_ref",
    ),
}


def set_fields(configuration: ModelConfiguration) -> dict[str, Any]:
    """The fields that this layer sets, by name; presence decides, never truthiness."""
    return {name: value for name, value in configuration.__dict__.items() if value is not None}


def of_fields(fields: Mapping[str, Any]) -> ModelConfiguration:
    """A layer that sets these fields, whose values were checked before."""
    return _EMPTY.model_copy(update=fields)


_EMPTY = ModelConfiguration()
