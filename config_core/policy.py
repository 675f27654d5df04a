"""The operator's policy: locks that supply a value, bounds that only limit one."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from config_core.model_configuration import (
    CONNECTION_FIELDS,
    FrozenModel,
    ModelConfiguration,
    Number,
    set_fields,
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
]


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


class Policy(FrozenModel):
    """What the operator fixes or limits, for everyone or for one tenant."""

    locks: ModelConfiguration = ModelConfiguration()
    """Values that hold whatever a request says; a request that says otherwise is refused."""
    bounds: Mapping[BoundedField, Bound] = Field(default_factory=dict)
    """Limits by field: a request beyond one is refused, a lower layer's value is brought inside."""
    operator_fallback: bool | None = None
    """Whether a request with its own key may fall back to the operator's; absent means no."""

    @model_validator(mode="after")
    def _bounds_in_range(self) -> Self:
        for name, bound in self.bounds.items():
            for end in (bound.min, bound.max):
                try:
                    ModelConfiguration.model_validate({name: end})
                except ValidationError:
                    raise ValueError(f"{name} can't be bounded by {end:g}") from None
        return self

    def over(self, general: "Policy") -> "Policy":
        """This policy with the general one beneath: own locks win, the tighter bound holds."""
        bounds = dict(general.bounds)
        for name, bound in self.bounds.items():
            bounds[name] = bound.tighten(bounds[name]) if name in bounds else bound
        return Policy(
            locks=ModelConfiguration.model_construct(
                **_locks_over(set_fields(self.locks), set_fields(general.locks))
            ),
            bounds=bounds,
            operator_fallback=(
                general.operator_fallback
                if self.operator_fallback is None
                else self.operator_fallback
            ),
        )


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
