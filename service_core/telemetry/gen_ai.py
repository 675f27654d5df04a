"""Names of OpenTelemetry's conventions for generative AI, as far as they are used here."""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from config_core.effective import Target
from config_core.model_configuration import ConnectionKind, ModelProvider
from service_core.telemetry.spans import AttributeValue
from service_core.usage import Usage

OPERATIONS: Mapping[ConnectionKind, str] = {"chat": "chat", "embedding": "embeddings"}
"""The name of an operation, by what is resolved for it."""

PROVIDERS: Mapping[ModelProvider, str] = {
    ModelProvider.OPENAI: "openai",
    ModelProvider.GROQ: "groq",
    ModelProvider.MISTRAL: "mistral_ai",
    ModelProvider.LOCAL: "local",
}
"""The name of a provider; the last is one of our own."""

_REQUESTED = {
    "temperature": "gen_ai.request.temperature",
    "max_tokens": "gen_ai.request.max_tokens",
    "top_p": "gen_ai.request.top_p",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
"""Options that are numbers: stop sequences are a piece of what is asked, and stay out."""


def options_of(target: Target) -> dict[str, AttributeValue]:
    """The options that a call is made with."""
    return {
        attribute: target.options[name]
        for name, attribute in _REQUESTED.items()
        if target.options.get(name) is not None
    }


def usage_of(usage: Usage) -> dict[str, AttributeValue]:
    """What the provider has counted; nothing where it counts nothing."""
    counted = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }
    return {name: count for name, count in counted.items() if count}


@lru_cache(maxsize=256)
def server_of(base_url: str) -> Mapping[str, AttributeValue]:
    """Where a provider is called: host and port alone, a URL may hold more."""
    parts = urlsplit(base_url)
    if not parts.hostname:
        return {}
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname, "server.port": port}
