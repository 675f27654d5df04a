"""What breaks the rules of the operator: locks, bounds, own keys, and what may be called."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from config_core.connection import Connection, Owner
from config_core.errors import Violation
from config_core.fingerprint import same_secret
from config_core.layer import Layer, field_path
from config_core.model_configuration import (
    CONNECTION_FIELDS,
    ConnectionKind,
    Fallbacks,
)
from config_core.policy import OwnKeys
from config_core.registry import Registry
from config_core.rules import Broken, Rules
from config_core.source import Source
from config_core.walk import COLLECTIONS_FIELD, Decision

_REQUEST_LAYERS = (Source.REQUEST, Source.PREFERENCE)
_FIXED = "is fixed by the operator: leave it out"


def lock_violations(
    kind: ConnectionKind, layers: Iterable[Layer], rules: Rules, registry: Registry
) -> Iterator[Violation]:
    """Each value of the request that differs from the operator's lock."""
    locks = rules.locked.fields
    if not locks:
        return
    for layer in layers:
        if layer.source not in _REQUEST_LAYERS:
            continue
        yield from _connection_lock(kind, layer, rules, registry)
        for name, locked in locks.items():
            mine = name.startswith(kind) or not name.startswith(("chat", "embedding"))
            if name in CONNECTION_FIELDS[kind] or not mine or name not in layer.fields:
                continue
            if name == "provider_configs":
                yield from _option_lock(layer, rules, locked)
            elif not _agrees(layer.fields[name], locked):
                yield _violation(layer.source, name, Broken(rules.lock_rule(name), _FIXED))


def _agrees(value: Any, locked: Any) -> bool:
    if not isinstance(value, Fallbacks) or not isinstance(locked, Fallbacks):
        return bool(value == locked)
    if value.without_keys() != locked.without_keys():
        return False
    pairs = zip(value.alternatives, locked.alternatives, strict=True)
    return all(same_secret(mine.api_key, fixed.api_key) for mine, fixed in pairs)


def _connection_lock(
    kind: ConnectionKind, layer: Layer, rules: Rules, registry: Registry
) -> Iterator[Violation]:
    locks = rules.locked.fields
    provider_field, endpoint_field, key_field, reference_field = CONNECTION_FIELDS[kind]
    fixed_endpoint = locks.get(endpoint_field)
    fixed_provider = locks.get(provider_field)
    if fixed_endpoint is not None:
        fixed_provider = registry.provider_of(fixed_endpoint)
    if fixed_provider is None:
        return
    rule = rules.lock_rule(endpoint_field if fixed_endpoint else provider_field)
    endpoint = layer.fields.get(endpoint_field)
    provider = layer.fields.get(provider_field)
    if endpoint is not None:
        same = registry.provider_of(endpoint) is fixed_provider
        if not same or (fixed_endpoint is not None and endpoint != fixed_endpoint):
            yield _violation(layer.source, endpoint_field, Broken(rule, _FIXED))
    own_service = endpoint_field in layer.blank and fixed_endpoint not in (None, fixed_provider)
    if own_service:
        yield _violation(layer.source, endpoint_field, Broken(rule, _FIXED))
    if provider is not None and provider is not fixed_provider:
        yield _violation(layer.source, provider_field, Broken(rule, _FIXED))
    fixed_credential = key_field in locks or reference_field in locks
    if fixed_endpoint is not None or fixed_credential:
        for name in (key_field, reference_field):
            if name in layer.fields and (fixed_credential or endpoint != fixed_endpoint):
                broken = Broken(rule, "belongs to a connection that is fixed")
                yield _violation(layer.source, name, broken)


def _option_lock(layer: Layer, rules: Rules, locked: Any) -> Iterator[Violation]:
    for provider, options in layer.fields["provider_configs"].items():
        for option, value in options.items():
            fixed = locked.get(provider, {})
            if option in fixed and fixed[option] != value:
                name = f"provider_configs.{provider}.{option}"
                broken = Broken(rules.lock_rule(name), "is fixed by the operator")
                yield _violation(layer.source, name, broken)


def apply_bounds(
    values: dict[str, Any],
    sources: dict[str, Source],
    layers: Sequence[Layer],
    rules: Rules,
) -> list[Violation]:
    """Bring lower layers' values inside their bounds; name each of the request's beyond one."""
    violations = []
    for name, bound in rules.bounds.items():
        for layer in layers:
            if layer.source not in _REQUEST_LAYERS or name not in layer.fields:
                continue
            broken = rules.beyond_bound(name, layer.fields[name])
            if broken is not None:
                violations.append(_violation(layer.source, name, broken))
        value = values.get(name)
        if value is None or sources[name] in _REQUEST_LAYERS:
            continue
        inside = bound.clamp(value)
        if inside != value:
            values[name] = int(inside) if isinstance(value, int) else inside
            sources[name] = Source.LOCKED
    return violations


def key_violations(
    kind: ConnectionKind, layers: Iterable[Layer], rules: Rules
) -> Iterator[Violation]:
    """Each key that a request brings though it must not."""
    own_keys, rule = rules.own_keys
    if own_keys is not OwnKeys.FORBIDDEN:
        return
    broken = Broken(rule, "must be left out: requests use the operator's keys only")
    name = f"{kind}_api_key"
    for layer in layers:
        if layer.source not in _REQUEST_LAYERS:
            continue
        if name in layer.fields:
            yield _violation(layer.source, name, broken)
        fallbacks = layer.fields.get("fallbacks") if kind == "chat" else None
        for index, alternative in enumerate(fallbacks.alternatives if fallbacks else ()):
            if alternative.api_key is not None:
                path = f"fallbacks.alternatives[{index}].api_key"
                yield _violation(layer.source, path, broken)


def operators_key(connection: Connection, rules: Rules) -> Broken | None:
    """The rule that keeps the operator's key from being used for the tenant."""
    own_keys, rule = rules.own_keys
    credential = connection.credential
    if own_keys is not OwnKeys.REQUIRED or credential is None:
        return None  # whether there will be a key, the service that calls knows
    if credential.owner is not Owner.OPERATOR:
        return None
    return Broken(rule, "must be your own: the operator's key is not for this tenant")


@dataclass(frozen=True, slots=True)
class PlaceViolation:
    """Why a decided place and model may not be called."""

    violation: Violation
    of_space: bool
    """Whether a collection's space, which is not known yet, may undo it."""


def place_violations(
    kind: ConnectionKind, decision: Decision, connection: Connection, rules: Rules
) -> Iterator[PlaceViolation]:
    """What keeps the primary, defaults included, from being called."""
    places_in_request = decision.stated in _REQUEST_LAYERS
    broken = rules.refusal(kind, decision.place, decision.model)
    if broken is not None:
        of_request = places_in_request
        source, part = decision.stated, broken.part
        if part == "endpoint" and decision.place.endpoint:
            source = decision.claim.source
        elif part == "endpoint":
            part = "provider"
        elif part == "model":
            of_request = places_in_request and decision.model_source in _REQUEST_LAYERS
            # A default model came with its provider: whoever named that has to name a model too.
            by_default = decision.model_source is Source.DEFAULT
            source = decision.stated if by_default else decision.model_source
        found = _violation(source, f"{kind}_{part}", broken)
        yield PlaceViolation(found, kind == "embedding" and not of_request)
    broken = operators_key(connection, rules)
    if broken is not None:
        found = _violation(Source.REQUEST, f"{kind}_api_key", broken)
        yield PlaceViolation(found, kind == "embedding" and not places_in_request)


def _violation(source: Source, name: str, broken: Broken) -> Violation:
    path = COLLECTIONS_FIELD if source is Source.COLLECTION else field_path(source, name)
    return broken.violation(path, name)
