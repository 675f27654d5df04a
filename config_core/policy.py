"""The operator's policy as the configuration file states it, for everyone or for one tenant.

`Rules` (config_core.rules) is what holds for a tenant: its own policy together with the general.
"""

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from config_core.model_configuration import (
    ConnectionKind,
    FrozenModel,
    ModelConfiguration,
    ModelProvider,
    Number,
    Provider,
    ReferenceName,
)

BoundedField = Literal[
    "temperature",
    "max_tokens",
    "timeout_seconds",
    "retry_attempts",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "attempt_timeout_seconds",
    "first_token_timeout_seconds",
    "stall_timeout_seconds",
    "top_k",
    "batch",
]

Ceiling = Literal["top_k", "batch"]
"""Bounds on parts of a request other than its model configuration: passages of a retrieval, texts
of one Embed."""
CEILINGS: tuple[Ceiling, ...] = ("top_k", "batch")

ModelPattern = Annotated[str, Field(min_length=1, max_length=256)]
"""A model's name, in which `*`, `?` and `[…]` stand for what they do in a file name."""

Amount = Annotated[int, Field(ge=1, le=10_000_000_000)]


class OwnKeys(StrEnum):
    """What a tenant's requests do about keys."""

    ALLOWED = "allowed"
    """A request may bring its own key."""
    REQUIRED = "required"
    """The operator's keys are not used: the request's or the tenant's own are."""
    FORBIDDEN = "forbidden"
    """A request that brings a key is refused."""


class Bound(FrozenModel):
    """The range that a value must stay in; both ends belong to it."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min must not exceed max")
        return self

    def clamp(self, value: float) -> float:
        """The value itself, or the end of the range that it exceeds."""
        if self.max is not None and value > self.max:
            return self.max
        if self.min is not None and value < self.min:
            return self.min
        return value

    def tighten(self, other: "Bound") -> "Bound":
        """The range that both allow."""
        lows = [bound.min for bound in (self, other) if bound.min is not None]
        highs = [bound.max for bound in (self, other) if bound.max is not None]
        low, high = max(lows, default=None), min(highs, default=None)
        if low is not None and high is not None and low > high:
            low = high
        return Bound(min=low, max=high)

    def __str__(self) -> str:
        parts = [] if self.min is None else [f"at least {self.min:g}"]
        if self.max is not None:
            parts.append(f"at most {self.max:g}")
        return " and ".join(parts)


class ModelPatterns(FrozenModel):
    """The models of one provider that may be called, by operation; absent means all."""

    chat: tuple[ModelPattern, ...] | None = None
    """Patterns of chat models."""
    embedding: tuple[ModelPattern, ...] | None = None
    """Patterns of embedding models."""

    def of(self, kind: ConnectionKind) -> tuple[str, ...] | None:
        """The patterns of an operation; `None` where every model is allowed."""
        return self.chat if kind == "chat" else self.embedding


class Limits(FrozenModel):
    """How much a tenant may ask for; absent means without limit."""

    requests_per_minute: Amount | None = None
    """Requests in any 60 seconds."""
    tokens_per_minute: Amount | None = None
    """Tokens of prompts and answers in any 60 seconds."""
    concurrent_requests: Amount | None = None
    """Requests that run at the same time."""


class Policy(FrozenModel):
    """What the operator fixes, allows or limits."""

    locks: ModelConfiguration = ModelConfiguration()
    """Values that hold whatever a request says; a request that says otherwise is refused."""
    bounds: Mapping[BoundedField, Bound] = Field(default_factory=dict)
    """Limits by field: a request beyond one is refused, a lower layer's value is brought inside."""
    providers: tuple[Provider, ...] | None = None
    """The providers that may be called; absent means all."""
    models: Mapping[Provider, ModelPatterns] = Field(default_factory=dict)
    """The models that may be called, by provider; those of a provider not named here are all."""
    endpoints: tuple[ReferenceName, ...] | None = None
    """The registered endpoints that may be called, and by a provider's name its own service."""
    own_keys: OwnKeys | None = None
    """Whether requests may, must or must not use keys of their own; absent means they may."""
    operator_fallback: bool | None = None
    """Whether a request with its own key may fall back to the operator's; absent means no."""
    limits: Limits = Limits()
    """How much each tenant may ask for."""

    def allows_provider(self, provider: ModelProvider) -> bool:
        """Whether the provider may be called, as far as its name decides."""
        return self.providers is None or provider in self.providers

    def allows_endpoint(self, entry_name: str) -> bool:
        """Whether an endpoint, or a provider's own service, may be called by its name in the file.

        The provider itself is not judged here.
        """
        return self.endpoints is None or entry_name in self.endpoints

    def allows_model(self, kind: ConnectionKind, provider: ModelProvider, model: str) -> bool:
        """Whether a model of the provider may be called, as far as its name decides."""
        patterns = self.patterns(kind, provider)
        return patterns is None or any(fnmatchcase(model, each) for each in patterns)

    def patterns(self, kind: ConnectionKind, provider: ModelProvider) -> tuple[str, ...] | None:
        """The patterns that a model of the provider has to fit; `None` where all do."""
        by_provider = self.models.get(provider)
        return None if by_provider is None else by_provider.of(kind)

    @model_validator(mode="after")
    def _bounds_in_range(self) -> Self:
        for name, bound in self.bounds.items():
            for end in (bound.min, bound.max):
                if not _in_range(name, end):
                    raise ValueError(f"{name} can't be bounded by {end:g}")
        return self


def _in_range(name: str, end: float | None) -> bool:
    if end is None:
        return True
    if name in CEILINGS:
        return end >= 1 and end.is_integer()
    try:
        ModelConfiguration.model_validate({name: end})
    except ValidationError:
        return False
    return True
