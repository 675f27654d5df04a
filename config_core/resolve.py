"""Resolution: the one table of layers, read from the bottom up.

    LOCKED > REQUEST > PREFERENCE > COLLECTION > TENANT > FILE > ENVIRONMENT > DEFAULT

The highest layer that sets a field wins; presence decides. Provider, endpoint and credential are
decided together by one layer (`walk`). What the chosen provider or model cannot take is refused
where the request set it, and dropped and reported where a lower layer did (`targets`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config_core.breaches import (
    apply_bounds,
    key_violations,
    lock_violations,
    place_violations,
)
from config_core.effective import DroppedOption, EffectiveConfiguration, Target
from config_core.errors import (
    CapabilityUnsupportedError,
    CascadaError,
    InvalidConfigurationError,
    PolicyViolationError,
    Reason,
    Violation,
    ViolationsError,
)
from config_core.layer import Layer
from config_core.model_configuration import (
    CONNECTION_FIELDS,
    ConnectionKind,
    ModelConfiguration,
)
from config_core.options import Options
from config_core.registry import Registry
from config_core.rules import Rules
from config_core.source import Source
from config_core.targets import chat_targets, embedding_target
from config_core.walk import Decision, walk

_LIMITS = ("timeout_seconds", "retry_attempts", "attempt_timeout_seconds")
_SAMPLING = (
    "temperature",
    "max_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
)
_STREAM_LIMITS = ("first_token_timeout_seconds", "stall_timeout_seconds")
_OWN_FIELDS: Mapping[ConnectionKind, frozenset[str]] = {
    "chat": frozenset(_SAMPLING + _LIMITS + _STREAM_LIMITS),
    "embedding": frozenset(_LIMITS),
}
_UNSET = ModelConfiguration()
_ERRORS: Mapping[Reason, type[ViolationsError]] = {
    Reason.INVALID_CONFIGURATION: InvalidConfigurationError,
    Reason.POLICY_VIOLATION: PolicyViolationError,
    Reason.CAPABILITY_UNSUPPORTED: CapabilityUnsupportedError,
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """What would run, as far as it could be resolved, and everything that is wrong."""

    effective: EffectiveConfiguration
    violations: tuple[Violation, ...]
    of_space: tuple[Violation, ...] = ()
    """Those that the space of a collection may undo, where none was given."""

    def require(self) -> EffectiveConfiguration:
        """The effective configuration; raises the error that its violations make."""
        if self.violations:
            raise error_of(self.violations)
        return self.effective


def error_of(violations: Sequence[Violation]) -> CascadaError:
    """One error for all violations; the first kind in the order of the table decides."""
    for reason, error in _ERRORS.items():
        if any(violation.reason is reason for violation in violations):
            first = sorted(violations, key=lambda violation: violation.reason is not reason)
            return error(first)
    return InvalidConfigurationError(violations)


def resolve(
    kind: ConnectionKind,
    layers: Iterable[Layer],
    registry: Registry,
    rules: Rules,
    snapshot_version: str,
    violations: Iterable[Violation] = (),
) -> Resolution:
    """Resolve one operation over its layers, in any order; forwarded layers win a tie."""
    found = list(violations)
    ascending = sorted(layers, key=lambda layer: (-layer.source, layer.forwarded))
    locks = rules.locked
    found += lock_violations(kind, ascending, rules, registry)
    found += key_violations(kind, ascending, rules)
    decision = walk(kind, _locked(kind, ascending, locks), registry, found)
    values, sources = _merge(ascending, locks, _OWN_FIELDS[kind])
    found += apply_bounds(values, sources, ascending, rules)
    options = Options(
        {name: values[name] for name in _SAMPLING if name in values},
        sources,
        _merge_options([*ascending, locks]),
    )
    dropped: list[DroppedOption] = []
    if kind == "chat":
        targets = chat_targets(decision, options, registry, rules, found, dropped)
        for option in dropped:
            values.pop(option.field, None)
            sources.pop(option.field, None)
    else:
        target, dimensions = embedding_target(decision, options, registry, found, dropped)
        targets = (target,)
        if dimensions != decision.dimensions:
            decision.dimensions, decision.dimensions_source = dimensions, Source.DEFAULT
    forbidden = list(place_violations(kind, decision, targets[0].connection, rules))
    found += [each.violation for each in forbidden]
    _add_decision(kind, decision, values, sources)
    for target in targets:
        _add_options(target, options, values, sources)
    effective = EffectiveConfiguration(
        kind=kind,
        values=_UNSET.model_copy(update=values),
        sources=sources,
        targets=targets,
        dropped=tuple(dropped),
        requested_model=decision.model if decision.model_source < Source.DEFAULT else "",
        snapshot_version=snapshot_version,
        claim=decision.claim,
        fallbacks=decision.fallbacks,
        stated=decision.stated,
        blank=decision.blank,
        waiting=options.waiting(kind, targets) if options.provider else {},
    )
    of_space = tuple(each.violation for each in forbidden if each.of_space)
    return Resolution(effective, tuple(found), of_space)


def _locked(kind: ConnectionKind, ascending: Sequence[Layer], locks: Layer) -> list[Layer]:
    """The layers with the locks among them.

    A locked connection lies beneath the request, whose model and key then belong to it; the locks
    of everything else lie on top.
    """
    if not locks.fields:
        return list(ascending)
    provider, *rest = CONNECTION_FIELDS[kind]
    beneath = {name: locks.fields[name] for name in (provider, *rest) if name in locks.fields}
    above = {name: value for name, value in locks.fields.items() if name not in rest}
    place = next(
        (index for index, layer in enumerate(ascending) if layer.source <= Source.PREFERENCE),
        len(ascending),
    )
    return [
        *ascending[:place],
        Layer(Source.LOCKED, beneath),
        *ascending[place:],
        Layer(Source.LOCKED, above),
    ]


def _merge(
    ascending: Sequence[Layer], locks: Layer, names: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Source]]:
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for layer in (*ascending, locks):
        source = layer.source
        for name, value in layer.fields.items():
            if name in names:
                values[name] = value
                sources[name] = source
    return values, sources


def _merge_options(ascending: Sequence[Layer]) -> dict[str, dict[str, tuple[Any, Source]]]:
    merged: dict[str, dict[str, tuple[Any, Source]]] = {}
    for layer in ascending:
        configs = layer.fields.get("provider_configs")
        if configs is None:
            continue
        for provider, options in configs.items():
            for option, value in options.items():
                merged.setdefault(provider, {})[option] = (value, layer.source)
    return merged


def _add_decision(
    kind: ConnectionKind, decision: Decision, values: dict[str, Any], sources: dict[str, Source]
) -> None:
    provider_field, endpoint_field, *_ = CONNECTION_FIELDS[kind]
    values[provider_field] = decision.place.provider
    sources[provider_field] = decision.stated
    if decision.place.endpoint:
        values[endpoint_field] = decision.place.endpoint
        sources[endpoint_field] = decision.claim.source
    values[f"{kind}_model"] = decision.model
    sources[f"{kind}_model"] = decision.model_source
    if kind == "embedding" and decision.dimensions is not None:
        values["embedding_dimensions"] = decision.dimensions
        sources["embedding_dimensions"] = decision.dimensions_source
    if kind == "chat" and decision.fallbacks is not None:
        values["fallbacks"] = decision.fallbacks.without_keys()
        sources["fallbacks"] = decision.fallbacks_source


def _add_options(
    target: Target, options: Options, values: dict[str, Any], sources: dict[str, Source]
) -> None:
    provider, taken = target.connection.provider, target.provider_options
    if taken:
        values.setdefault("provider_configs", {})[provider] = dict(taken)
        for name in taken:
            sources[f"provider_configs.{provider}.{name}"] = options.provider[provider][name][1]
