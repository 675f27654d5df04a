"""The effective configuration: what really holds for one operation, and whom it calls."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from config_core.capabilities import embedding_model
from config_core.connection import Connection
from config_core.errors import CascadaError, EmbeddingSpaceMismatchError, Reason
from config_core.model_configuration import (
    ConnectionKind,
    Fallbacks,
    ModelConfiguration,
    ModelProvider,
)
from config_core.place import Claim
from config_core.source import Source
from config_core.space import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class DroppedOption:
    """A value of a lower layer that the provider or model cannot take."""

    field: str
    source: Source
    reason: str
    value: Any = None
    """What the layer had set, for the next hop to drop as well."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Why an alternative is passed over."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Target:
    """One connection and model that may be called, with the options that it takes."""

    connection: Connection
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    skip: Skip | None = None
    problem: CascadaError | None = None
    """What to raise instead of calling it: it has no credential here."""
    dropped: tuple[DroppedOption, ...] = ()
    """Of an alternative; those of the primary are the operation's."""


@dataclass(frozen=True)
class EffectiveConfiguration:
    """One operation's values with the source of each; the first target is the primary."""

    kind: ConnectionKind
    values: ModelConfiguration
    """The operation's fields, without any secret."""
    sources: Mapping[str, Source]
    """By field name; options as `provider_configs.provider.option`."""
    targets: tuple[Target, ...]
    dropped: tuple[DroppedOption, ...]
    requested_model: str
    snapshot_version: str
    claim: Claim
    """What the layer that decided the connection says of its credential."""
    fallbacks: Fallbacks | None = None
    """The alternatives with their keys, for the next hop; `values` has them without."""
    stated: Source = Source.DEFAULT
    """The highest layer that names the provider, be it only to restate it."""
    blank: frozenset[str] = frozenset()
    """Endpoint or model that the deciding layer leaves empty, for the next hop to inherit none."""
    waiting: Mapping[str, Mapping[str, tuple[Any, Source]]] = field(
        default_factory=dict, repr=False
    )
    """Options of providers that are not called here, with their sources: the next hop may."""

    @property
    def primary(self) -> Target:
        """The target that is called first."""
        return self.targets[0]

    @property
    def timeout_seconds(self) -> float:
        """Limit of the whole operation, in seconds."""
        assert self.values.timeout_seconds is not None
        return self.values.timeout_seconds

    @property
    def retry_attempts(self) -> int:
        """Retries after the first attempt, for each connection."""
        assert self.values.retry_attempts is not None
        return self.values.retry_attempts

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical configuration: no keys, fingerprints or sources."""
        canonical = {
            "values": canonical_values(self.values),
            "base_urls": [target.connection.base_url for target in self.targets],
            "dropped": sorted(option.field for option in self.dropped),
        }
        return hashlib.sha256(msgspec.json.encode(canonical, order="sorted")).hexdigest()

    @property
    def space(self) -> EmbeddingSpace | None:
        """The embedding space, once its dimensions are known."""
        dimensions = self.values.embedding_dimensions
        if self.kind != "embedding" or dimensions is None:
            return None
        return self.space_of(dimensions)

    def space_of(self, dimensions: int) -> EmbeddingSpace:
        """The space of vectors of this length."""
        connection, model = self.primary.connection, self.primary.model
        known = embedding_model(connection.provider, model)
        return EmbeddingSpace(
            provider=connection.provider,
            model=model,
            dimensions=dimensions,
            prefix=known.prefix if known else "",
            endpoint_space=connection.space,
        )

    def check_space(self, space: EmbeddingSpace, collection: str) -> None:
        """Raise EmbeddingSpaceMismatchError where this names another space than a collection's."""
        dimensions = self.values.embedding_dimensions
        asked = self.space_of(space.dimensions if dimensions is None else dimensions)
        if asked != space:
            raise EmbeddingSpaceMismatchError(collection, space, asked)


_PLAIN = frozenset({str, int, bool, tuple, ModelProvider})


def canonical_values(values: ModelConfiguration) -> dict[str, Any]:
    """The values as plain JSON, numbers in one form, without secrets."""
    return {
        name: value if type(value) in _PLAIN else _canonical(value)
        for name, value in values.__dict__.items()
        if value is not None
    }


def _canonical(value: Any) -> Any:
    if isinstance(value, float):
        # A Struct does not tell 1 from 1.0.
        return int(value) if value.is_integer() else value
    if isinstance(value, Fallbacks):
        return {
            "alternatives": [
                {
                    name: entry
                    for name, entry in alternative.__dict__.items()
                    if entry is not None and name != "api_key"
                }
                for alternative in value.alternatives
            ],
            "fallback_on": sorted(value.fallback_on),
        }
    if isinstance(value, list):
        return [_canonical(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _canonical(entry) for key, entry in value.items()}
    return value
