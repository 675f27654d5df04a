"""REQUEST: model_configuration in the request, and what another service forwarded with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr, ValidationError

from config_core.errors import Violation
from config_core.layer import Layer
from config_core.layer_rules import own_problems
from config_core.model_configuration import (
    ConnectionKind,
    ModelConfiguration,
    ModelProvider,
    set_fields,
)
from config_core.source import Source
from config_core.validation import problems_of

FIELD = "model_configuration"


@dataclass(frozen=True, slots=True)
class ForwardedConnection:
    """A connection that the sender resolved, with its key; only a trusted sender's are taken."""

    kind: ConnectionKind
    provider: ModelProvider
    endpoint: str
    base_url: str
    private: bool
    source: Source
    api_key: SecretStr | None
    space: str = ""
    secret_ref: str = ""
    tenants_own: bool = False
    keyless: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """The configuration part of one request, before it meets this service's own layers."""

    layers: tuple[Layer, ...] = ()
    connections: tuple[ForwardedConnection, ...] = ()
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where forwarded fields came from: by field name, and by `provider.option` for options."""

    fields: Mapping[str, Source] = field(default_factory=dict)
    options: Mapping[str, Source] = field(default_factory=dict)
    beneath: Mapping[str, frozenset[Source]] = field(default_factory=dict)
    """Further ranks at which a field stands too, for the sake of what depends on it there."""
    blank: Mapping[str, Source] = field(default_factory=dict)
    """Endpoint or model that a layer leaves empty on purpose, so that nothing lower holds."""


def layers(
    values: Mapping[str, Any], provenance: Provenance | None
) -> tuple[tuple[Layer, ...], list[Violation]]:
    """The layers that a request's values make, highest first, and everything that is wrong.

    Without provenance every field is the request's. LOCKED is never believed from the wire.
    """
    configuration, violations = _validated(values)
    fields = set_fields(configuration)
    violations += [Violation(f"{FIELD}.{path}", why) for path, why in own_problems(configuration)]
    if provenance is None:
        return (Layer(Source.REQUEST, fields),), violations
    by_source: dict[Source, dict[str, Any]] = {}
    for name, value in fields.items():
        if name == "provider_configs":
            _spread_options(value, provenance, by_source)
        else:
            source = _believed(provenance.fields.get(name))
            for rank in (source, *map(_believed, provenance.beneath.get(name, ()))):
                by_source.setdefault(rank, {})[name] = value
    blank: dict[Source, set[str]] = {}
    for name, source in provenance.blank.items():
        blank.setdefault(_believed(source), set()).add(name)
    return (
        tuple(
            Layer(source, by_source[source], forwarded=True, blank=frozenset(blank.get(source, ())))
            for source in sorted(by_source)
        ),
        violations,
    )


def _believed(source: Source | None) -> Source:
    return Source.REQUEST if source is None or source is Source.LOCKED else source


def _spread_options(
    configs: Mapping[str, Mapping[str, Any]],
    provenance: Provenance,
    by_source: dict[Source, dict[str, Any]],
) -> None:
    for provider, options in configs.items():
        for option, value in options.items():
            source = _believed(provenance.options.get(f"{provider}.{option}"))
            target = by_source.setdefault(source, {}).setdefault("provider_configs", {})
            target.setdefault(provider, {})[option] = value


def _validated(values: Mapping[str, Any]) -> tuple[ModelConfiguration, list[Violation]]:
    """The values that are valid, and a violation for each that is not."""
    try:
        return ModelConfiguration.model_validate(values), []
    except ValidationError as error:
        found = problems_of(error)
    violations = [Violation(f"{FIELD}.{path}", why) for path, why in found]
    wrong = {path.split(".")[0].split("[")[0] for path, _ in found}
    rest = {name: value for name, value in values.items() if name not in wrong}
    return ModelConfiguration.model_validate(rest), violations
