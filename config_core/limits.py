"""Locks and bounds, held against the layers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from config_core.errors import Reason, Violation
from config_core.layer import Layer, field_path
from config_core.model_configuration import CONNECTION_FIELDS, ConnectionKind, set_fields
from config_core.policy import Policy
from config_core.registry import Registry
from config_core.source import Source

_REQUEST_LAYERS = (Source.REQUEST, Source.PREFERENCE)


def violation(source: Source, name: str, rule: str, what: str) -> Violation:
    """A broken rule of the policy, named."""
    return Violation(
        field_path(source, name),
        f"{what} (policy rule {rule})",
        Reason.POLICY_VIOLATION,
        {"rule": rule, "field": name},
    )


def lock_violations(
    kind: ConnectionKind, layers: Iterable[Layer], policy: Policy, registry: Registry
) -> Iterator[Violation]:
    """Each value of the request that differs from the operator's lock."""
    locks = set_fields(policy.locks)
    if not locks:
        return
    for layer in layers:
        if layer.source not in _REQUEST_LAYERS:
            continue
        yield from _connection_lock(kind, layer, locks, registry)
        for name, locked in locks.items():
            mine = name.startswith(kind) or not name.startswith(("chat", "embedding"))
            if name in CONNECTION_FIELDS[kind] or not mine or name not in layer.fields:
                continue
            if name == "provider_configs":
                yield from _option_lock(layer, locked)
            elif layer.fields[name] != locked:
                yield violation(
                    layer.source, name, f"locks.{name}", "is fixed by the operator: leave it out"
                )


def _connection_lock(
    kind: ConnectionKind, layer: Layer, locks: dict[str, Any], registry: Registry
) -> Iterator[Violation]:
    provider_field, endpoint_field, key_field, reference_field = CONNECTION_FIELDS[kind]
    fixed_endpoint = locks.get(endpoint_field)
    fixed_provider = locks.get(provider_field)
    if fixed_endpoint is not None:
        fixed_provider = registry.provider_of(fixed_endpoint)
    if fixed_provider is None:
        return
    rule = f"locks.{endpoint_field if fixed_endpoint else provider_field}"
    what = "is fixed by the operator: leave it out"
    endpoint = layer.fields.get(endpoint_field)
    provider = layer.fields.get(provider_field)
    if endpoint is not None:
        same = registry.provider_of(endpoint) is fixed_provider
        if not same or (fixed_endpoint is not None and endpoint != fixed_endpoint):
            yield violation(layer.source, endpoint_field, rule, what)
    if provider is not None and provider is not fixed_provider:
        yield violation(layer.source, provider_field, rule, what)
    fixed_credential = key_field in locks or reference_field in locks
    if fixed_endpoint is not None or fixed_credential:
        for name in (key_field, reference_field):
            if name in layer.fields and (fixed_credential or endpoint != fixed_endpoint):
                yield violation(layer.source, name, rule, "belongs to a connection that is fixed")


def _option_lock(layer: Layer, locked: Any) -> Iterator[Violation]:
    for provider, options in layer.fields["provider_configs"].items():
        for option, value in options.items():
            fixed = locked.get(provider, {})
            if option in fixed and fixed[option] != value:
                name = f"provider_configs.{provider}.{option}"
                yield violation(layer.source, name, f"locks.{name}", "is fixed by the operator")


def apply_bounds(
    values: dict[str, Any],
    sources: dict[str, Source],
    layers: Sequence[Layer],
    policy: Policy,
) -> list[Violation]:
    """Bring lower layers' values inside their bounds; name each of the request's beyond one."""
    violations = []
    for name, bound in policy.bounds.items():
        for layer in layers:
            if layer.source not in _REQUEST_LAYERS or name not in layer.fields:
                continue
            if bound.clamp(layer.fields[name]) != layer.fields[name]:
                violations.append(
                    violation(layer.source, name, f"bounds.{name}", f"must be {bound}")
                )
        value = values.get(name)
        if value is None or sources[name] in _REQUEST_LAYERS:
            continue
        inside = bound.clamp(value)
        if inside != value:
            values[name] = int(inside) if isinstance(value, int) else inside
            sources[name] = Source.LOCKED
    return violations
