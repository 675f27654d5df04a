"""The rules that hold for one tenant: its own policy and the general one, each rule by its path.

locks                                   the tenant's own win
bounds, providers, models, endpoints    both hold: a tenant's own can only narrow
own_keys, operator_fallback, limits     the tenant's own replace the general ones
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from config_core.errors import Reason, Violation
from config_core.layer import Layer
from config_core.model_configuration import (
    CONNECTION_FIELDS,
    ConnectionKind,
    ModelConfiguration,
    ModelProvider,
    of_fields,
    set_fields,
)
from config_core.place import Place
from config_core.policy import Bound, Ceiling, Limits, OwnKeys, Policy
from config_core.source import Source


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that something breaks, by its path in the file, and what it asks for."""

    rule: str
    asked: str
    part: str = ""
    """The part of a connection that it is about: `provider`, `endpoint` or `model`."""

    def violation(self, path: str, name: str) -> Violation:
        """The violation at a field's path; `name` is the field's own."""
        return Violation(
            path,
            f"{self.asked} (policy rule {self.rule})",
            Reason.POLICY_VIOLATION,
            {"rule": self.rule, "field": name},
        )


_SILENT = Policy()


@dataclass(frozen=True)
class Rules:
    """The policies that hold together by their paths in the file, the tenant's own first."""

    policies: Mapping[str, Policy]

    @classmethod
    def of(cls, general: Policy, tenant: str = "", own: Policy | None = None) -> "Rules":
        """The rules of a tenant with a policy of its own, or of all others."""
        stated = {f"tenants.{tenant}.policy": own or _SILENT, "policy": general}
        # Most tenants have no policy of their own: a request has nothing to ask one that is silent.
        return cls({path: policy for path, policy in stated.items() if policy != _SILENT})

    @cached_property
    def locks(self) -> ModelConfiguration:
        """The values that hold whatever a request says."""
        merged: dict[str, Any] = {}
        for policy in reversed(list(self.policies.values())):
            merged = _locks_over(set_fields(policy.locks), merged)
        return of_fields(merged)

    @cached_property
    def locked(self) -> Layer:
        """The locks as the layer above all others."""
        return Layer.of(Source.LOCKED, self.locks)

    def lock_rule(self, name: str) -> str:
        """The path of the lock on a field."""
        field = name.split(".", 1)[0]
        owners = [path for path, policy in self.policies.items() if field in _set(policy)]
        return f"{(owners or ['policy'])[0]}.locks.{name}"

    @cached_property
    def bounds(self) -> Mapping[str, Bound]:
        """The tighter bound of each field that has one."""
        merged: dict[str, Bound] = {}
        for policy in self.policies.values():
            for name, bound in policy.bounds.items():
                merged[name] = bound.tighten(merged[name]) if name in merged else bound
        return merged

    def beyond_bound(self, name: str, value: float) -> Broken | None:
        """The bound that a value exceeds; `None` where it is inside."""
        bound = self.bounds.get(name)
        if bound is None or bound.clamp(value) == value:
            return None
        owner = next(
            path
            for path, policy in self.policies.items()
            if name in policy.bounds and policy.bounds[name].clamp(value) != value  # type: ignore[index] # a bounded field's name
        )
        return Broken(f"{owner}.bounds.{name}", f"must be {bound}")

    def ceiling(self, name: Ceiling, most: int) -> int:
        """The most of it that there may be: the bound's maximum, or what there is without one."""
        bound = self.bounds.get(name)
        return most if bound is None else int(bound.clamp(most))

    def refusal(self, kind: ConnectionKind, place: Place, model: str) -> Broken | None:
        """The first rule that keeps this place and model from being called."""
        provider = place.provider
        for path, policy in self.policies.items():
            if not policy.allows_provider(provider):
                allowed = _listed(policy.providers)
                return Broken(f"{path}.providers", f"must be {allowed}", "provider")
            if not policy.allows_endpoint(place.entry_name):
                allowed = _listed(policy.endpoints)
                return Broken(f"{path}.endpoints", f"must be {allowed}", "endpoint")
            if not policy.allows_model(kind, provider, model):
                allowed = _listed(policy.patterns(kind, provider))
                rule = f"{path}.models.{provider}.{kind}"
                return Broken(rule, f"must be {allowed}, not {model!r}", "model")
        return None

    def allows_provider(self, provider: ModelProvider) -> bool:
        """Whether any connection of the provider may be called, as far as its name decides."""
        return all(policy.allows_provider(provider) for policy in self.policies.values())

    def allows_endpoint(self, place: Place) -> bool:
        """Whether a registered endpoint may be called, whatever the model."""
        return all(
            policy.allows_provider(place.provider) and policy.allows_endpoint(place.entry_name)
            for policy in self.policies.values()
        )

    def allows_model(self, kind: ConnectionKind, provider: ModelProvider, model: str) -> bool:
        """Whether a model of the provider may be called, as far as its name decides."""
        return all(policy.allows_model(kind, provider, model) for policy in self.policies.values())

    @cached_property
    def own_keys(self) -> tuple[OwnKeys, str]:
        """What requests do about keys, and the path of the rule that says so."""
        for path, policy in self.policies.items():
            if policy.own_keys is not None:
                return policy.own_keys, f"{path}.own_keys"
        return OwnKeys.ALLOWED, ""

    @property
    def operator_fallback(self) -> bool:
        """Whether a request with its own key may fall back to the operator's."""
        said = (policy.operator_fallback for policy in self.policies.values())
        return next((each for each in said if each is not None), False)

    @cached_property
    def limits(self) -> Limits:
        """How much the tenant may ask for."""
        merged: dict[str, int] = {}
        for policy in self.policies.values():
            merged = {**policy.limits.model_dump(exclude_none=True), **merged}
        return Limits(**merged)


def _set(policy: Policy) -> Mapping[str, Any]:
    return set_fields(policy.locks)


def _listed(names: tuple[str, ...] | None) -> str:
    return f"one of {', '.join(names)}" if names else "none at all"


def _locks_over(own: dict[str, Any], general: dict[str, Any]) -> dict[str, Any]:
    """The locks of both; a connection that the own ones fix replaces the general one whole."""
    beneath = dict(general)
    for kind, names in CONNECTION_FIELDS.items():
        if not any(name in own for name in names):
            continue
        provider_field, *others = names
        provider = own.get(provider_field)
        same = provider is not None and provider is general.get(provider_field)
        if same and not any(name in own for name in others):
            continue  # it restates the general one's provider
        dependent = () if same else (f"{kind}_model", f"{kind}_dimensions")
        fallbacks = ("fallbacks",) if kind == "chat" else ()
        for name in (*names, *dependent, *fallbacks):
            beneath.pop(name, None)
    return {**beneath, **own}
