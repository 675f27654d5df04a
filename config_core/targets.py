"""The targets of an operation: the primary and its alternatives, each with what it takes."""

from collections.abc import MutableSequence
from dataclasses import replace
from typing import Any

from config_core.breaches import operators_key
from config_core.capabilities import (
    MATRIX,
    default_model,
    embedding_model,
    provider_options,
)
from config_core.connection import Owner
from config_core.effective import DroppedOption, Skip, Target
from config_core.errors import Reason, Violation
from config_core.layer import field_path
from config_core.model_configuration import Fallback, FallbackCondition
from config_core.options import Options
from config_core.place import Claim, Place
from config_core.registry import Registry
from config_core.rules import Broken, Rules
from config_core.source import Source
from config_core.walk import Decision

_EXPLICIT = (Source.REQUEST, Source.PREFERENCE)


def chat_targets(
    decision: Decision,
    options: Options,
    registry: Registry,
    rules: Rules,
    violations: MutableSequence[Violation],
    dropped: MutableSequence[DroppedOption],
) -> tuple[Target, ...]:
    """The primary and the alternatives, in order."""
    fallbacks = decision.fallbacks
    alternatives = fallbacks.alternatives if fallbacks else ()
    conditions = fallbacks.fallback_on if fallbacks else ()
    forgiven = bool(alternatives) and FallbackCondition.CAPABILITY_UNSUPPORTED in conditions
    primary = _primary(decision, options, registry, violations, dropped, forgiven=forgiven)
    rest = []
    for index, alternative in enumerate(alternatives):
        target = _alternative(index, alternative, decision, options, registry, rules, violations)
        if target is not None:
            rest.append(_guarded(target, primary, rules))
    return (primary, *rest)


def _primary(
    decision: Decision,
    options: Options,
    registry: Registry,
    violations: MutableSequence[Violation],
    dropped: MutableSequence[DroppedOption],
    *,
    forgiven: bool,
) -> Target:
    place = decision.place
    connection, problem = registry.connect("chat", place, decision.claim)
    taken, refused = options.split(place.provider, decision.model)
    explicit = {}
    for name, why in refused.items():
        source = options.sources[name]
        if source in _EXPLICIT:
            explicit[name] = why
        else:
            dropped.append(DroppedOption(name, source, why, options.values[name]))
    skip = None
    if explicit and forgiven:
        skip = Skip(Reason.CAPABILITY_UNSUPPORTED, "; ".join(explicit.values()))
    else:
        for name, why in explicit.items():
            path = field_path(options.sources[name], name)
            violations.append(_unsupported(path, why, place, decision.model, name))
    return Target(
        connection=connection,
        model=decision.model,
        options=taken,
        provider_options=options.for_provider(
            place.provider, provider_options(place.provider, "chat")
        ),
        skip=skip,
        problem=problem,
    )


def _alternative(
    index: int,
    alternative: Fallback,
    decision: Decision,
    options: Options,
    registry: Registry,
    rules: Rules,
    violations: MutableSequence[Violation],
) -> Target | None:
    source = decision.fallbacks_source
    name = f"fallbacks.alternatives[{index}]"
    provider = alternative.provider
    if alternative.endpoint is not None:
        implied = registry.provider_of(alternative.endpoint)
        if implied is None or (provider is not None and provider is not implied):
            why = "is not a registered endpoint" if implied is None else f"belongs to {implied}"
            violations.append(Violation(f"model_configuration.{name}.endpoint", why))
            return None
        provider = implied
    if provider is None:
        return None  # refused with the layer itself
    place = Place.of(provider, alternative.endpoint)
    model = alternative.model or default_model(provider, "chat")
    claim = Claim(source, alternative.api_key, alternative.secret_ref, index)
    connection, problem = registry.connect("chat", place, claim)
    skip = None
    broken = _broken_lock(place, model, rules) or rules.refusal("chat", place, model)
    if broken is not None and source in _EXPLICIT:
        violations.append(broken.violation(field_path(source, name), name))
    broken = broken or operators_key(connection, rules)
    if broken is not None:
        skip = Skip(Reason.POLICY_VIOLATION, f"the policy rule {broken.rule} forbids it")
    taken, refused = options.split(place.provider, model)
    explicit = {option for option in refused if options.sources[option] in _EXPLICIT}
    if explicit and skip is None:
        why = "; ".join(refused[option] for option in refused if option in explicit)
        skip = Skip(Reason.CAPABILITY_UNSUPPORTED, why)
    if problem is not None and skip is None:
        skip = Skip(problem.code_reason, problem.message)
    return Target(
        connection=connection,
        model=model,
        options=taken,
        provider_options=options.for_provider(provider, provider_options(provider, "chat")),
        skip=skip,
        problem=problem,
        dropped=tuple(
            DroppedOption(f"{name}.{option}", options.sources[option], why, options.values[option])
            for option, why in refused.items()
            if option not in explicit
        ),
    )


def _guarded(target: Target, primary: Target, rules: Rules) -> Target:
    """A request with its own key never falls back to the operator's, unless policy says so."""
    own, other = primary.connection.credential, target.connection.credential
    if (
        own is not None
        and own.owner is Owner.CALLER
        and (other is None or other.owner is Owner.OPERATOR)
        and target.connection.base_url  # the model in this process is nobody's account
        and not rules.operator_fallback
        and target.skip is None
    ):
        detail = "a request with its own key does not fall back to the operator's"
        return replace(target, skip=Skip(Reason.POLICY_VIOLATION, detail))
    return target


def _broken_lock(place: Place, model: str, rules: Rules) -> Broken | None:
    locks = rules.locks
    if locks.chat_endpoint is not None and place.endpoint != locks.chat_endpoint:
        name = "chat_endpoint"
    elif locks.chat_provider is not None and place.provider is not locks.chat_provider:
        name = "chat_provider"
    elif locks.chat_model is not None and model != locks.chat_model:
        name = "chat_model"
    else:
        return None
    return Broken(rules.lock_rule(name), "is not what the operator has fixed")


def embedding_target(
    decision: Decision,
    options: Options,
    registry: Registry,
    violations: MutableSequence[Violation],
    dropped: MutableSequence[DroppedOption],
) -> tuple[Target, int | None]:
    """The one target of an embedding, and the length of its vectors where that is known.

    `options["dimensions"]` is there where the provider has to be told.
    """
    place, model, asked = decision.place, decision.model, decision.dimensions
    connection, problem = registry.connect("embedding", place, decision.claim)
    if MATRIX[place.provider].embedding is None:
        path = field_path(decision.stated, "embedding_provider")
        violations.append(
            _unsupported(path, f"{place.provider} has no embeddings", place, model, "embeddings")
        )
        return Target(connection, model, problem=problem), asked
    sent: dict[str, Any] = {}
    known = embedding_model(place.provider, model)
    source = decision.dimensions_source
    if known is None:
        # A collection's pin says what to expect; whether the model takes the option is unknown.
        if asked is not None and source is not Source.COLLECTION:
            sent["dimensions"] = asked
    elif asked is not None and asked != known.dimensions:
        if known.settable_dimensions and asked < known.dimensions:
            sent["dimensions"] = asked
        else:
            extent = "at most" if known.settable_dimensions else "exactly"
            why = f"{model} has {extent} {known.dimensions} dimensions"
            path = field_path(source, "embedding_dimensions")
            if source in (*_EXPLICIT, Source.COLLECTION):
                violations.append(_unsupported(path, why, place, model, "dimensions"))
            else:
                dropped.append(DroppedOption("embedding_dimensions", source, why, asked))
                asked = known.dimensions
    target = Target(
        connection=connection,
        model=model,
        options=sent,
        provider_options=options.for_provider(
            place.provider, provider_options(place.provider, "embedding")
        ),
        problem=problem,
    )
    return target, asked


def _unsupported(path: str, why: str, place: Place, model: str, capability: str) -> Violation:
    return Violation(
        path,
        f"{why}: leave it out, or choose another provider or model",
        Reason.CAPABILITY_UNSUPPORTED,
        {"provider": str(place.provider), "model": model, "capability": capability},
    )
