"""The rules that one layer has to keep by itself, whoever made it: on connections and options."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import SecretStr

from config_core.configuration_file import ConfigurationFile
from config_core.model_configuration import ModelConfiguration, ModelProvider
from config_core.option_rules import option_problem
from config_core.place import Place

Problems = Iterator[tuple[str, str]]
"""Pairs of a field's path inside the layer and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One connection that a layer names: for chat, for embedding, or a fallback."""

    prefix: str
    """What stands before the names of its fields, such as `chat_`."""
    whole: str
    """The path of the choice itself; "" where only its fields have one."""
    provider: ModelProvider | None
    endpoint: str | None
    key: SecretStr | None
    reference: str | None


def choices(layer: ModelConfiguration) -> Iterator[Choice]:
    """Every connection that the layer says something about."""
    for kind in ("chat", "embedding"):
        names = ("provider", "endpoint", "api_key", "secret_ref")
        values = (getattr(layer, f"{kind}_{name}") for name in names)
        yield Choice(f"{kind}_", "", *values)
    for index, fallback in enumerate(layer.fallbacks.alternatives if layer.fallbacks else ()):
        place = f"fallbacks.alternatives[{index}]"
        yield Choice(
            f"{place}.",
            place,
            fallback.provider,
            fallback.endpoint,
            fallback.api_key,
            fallback.secret_ref,
        )


def own_problems(layer: ModelConfiguration) -> Problems:
    """What contradicts itself, whatever is registered."""
    for choice in choices(layer):
        yield from _contradictions(choice)
    for provider, options in (layer.provider_configs or {}).items():
        for option, value in options.items():
            problem = option_problem(provider, option, value)
            if problem:
                yield f"provider_configs.{provider}.{option}", problem


def registration_problems(layer: ModelConfiguration, document: ConfigurationFile) -> Problems:
    """What contradicts the endpoints and secrets that the operator has registered."""
    for choice in choices(layer):
        yield from _unregistered(choice, document)


def _contradictions(choice: Choice) -> Problems:
    prefix, nowhere = choice.prefix, choice.provider is None and choice.endpoint is None
    if choice.whole and nowhere:
        yield choice.whole, "needs a provider or an endpoint"
    elif nowhere and (choice.key is not None or choice.reference is not None):
        lone = "api_key" if choice.key is not None else "secret_ref"
        yield (
            f"{prefix}{lone}",
            f"needs {prefix}provider or {prefix}endpoint beside it: a key is for one connection",
        )
    if choice.key is not None and choice.reference is not None:
        yield f"{prefix}secret_ref", f"give either {prefix}api_key or {prefix}secret_ref"


def _unregistered(choice: Choice, document: ConfigurationFile) -> Problems:
    prefix, provider = choice.prefix, choice.provider
    if choice.endpoint is not None:
        entry = document.endpoints.get(choice.endpoint)
        if entry is None:
            yield f"{prefix}endpoint", "is not registered under endpoints"
            return
        if provider is not None and provider is not entry.provider:
            yield f"{prefix}provider", f"the endpoint belongs to {entry.provider}"
            return
        provider = entry.provider
    if choice.reference is not None and provider is not None:
        secret = document.secrets.get(choice.reference)
        if secret is None:
            yield f"{prefix}secret_ref", "is not registered under secrets"
        elif not Place.of(provider, choice.endpoint).fits(secret):
            yield f"{prefix}secret_ref", "is registered for another provider or endpoint"
