"""What each provider and model can do: the one matrix behind refusals, dropped options and docs.

Model names are open strings. What is not known by name is assumed to work and passed on; what is
known not to work is refused before any network call (`option_rules`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from config_core.model_configuration import ConnectionKind, ModelProvider

CHAT_OPTIONS = (
    "temperature",
    "max_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
)
"""The fields of ModelConfiguration that a chat provider is sent."""


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What is known of one embedding model."""

    dimensions: int
    settable_dimensions: bool = False
    max_input_tokens: int = 8192
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ChatCapabilities:
    """What a provider's chat takes."""

    default_model: str
    options: frozenset[str]
    context_tokens: Mapping[str, int] = field(default_factory=dict)
    """The longest prompt of the models that are known, in tokens."""
    max_temperature: float = 2.0
    max_stop_sequences: int = 16
    provider_options: Mapping[str, str] = field(default_factory=dict)
    """Entries of provider_configs by name, with their JSON type."""


@dataclass(frozen=True, slots=True)
class EmbeddingCapabilities:
    """What a provider's embeddings take."""

    default_model: str
    models: Mapping[str, EmbeddingModel]
    max_texts: int
    """The most texts of one call to the provider."""
    max_tokens: int
    """The most tokens of one call, all texts together."""
    provider_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderCapabilities:
    """One row of the matrix; `None` where the provider has no such operation."""

    chat: ChatCapabilities | None
    embedding: EmbeddingCapabilities | None


_ALL = frozenset(CHAT_OPTIONS)

MATRIX: Mapping[ModelProvider, ProviderCapabilities] = MappingProxyType(
    {
        ModelProvider.OPENAI: ProviderCapabilities(
            chat=ChatCapabilities(
                default_model="gpt-4.1-mini",
                options=_ALL,
                context_tokens={
                    "gpt-4.1": 1_047_576,
                    "gpt-4.1-mini": 1_047_576,
                    "gpt-4.1-nano": 1_047_576,
                    "gpt-4o": 128_000,
                    "gpt-4o-mini": 128_000,
                },
                max_stop_sequences=4,
                provider_options={
                    "logit_bias": "object",
                    "metadata": "object",
                    "parallel_tool_calls": "boolean",
                    "prompt_cache_retention": "string",
                    "reasoning_effort": "string",
                    "safety_identifier": "string",
                    "service_tier": "string",
                    "store": "boolean",
                    "verbosity": "string",
                },
            ),
            embedding=EmbeddingCapabilities(
                default_model="text-embedding-3-small",
                models={
                    "text-embedding-3-small": EmbeddingModel(1536, settable_dimensions=True),
                    "text-embedding-3-large": EmbeddingModel(3072, settable_dimensions=True),
                    "text-embedding-ada-002": EmbeddingModel(1536),
                },
                max_texts=2048,
                max_tokens=300_000,
                provider_options={"user": "string"},
            ),
        ),
        ModelProvider.GROQ: ProviderCapabilities(
            chat=ChatCapabilities(
                default_model="llama-3.3-70b-versatile",
                options=_ALL - {"frequency_penalty", "presence_penalty"},
                context_tokens={
                    "llama-3.1-8b-instant": 131_072,
                    "llama-3.3-70b-versatile": 131_072,
                },
                max_stop_sequences=4,
                provider_options={
                    "parallel_tool_calls": "boolean",
                    "reasoning_effort": "string",
                    "reasoning_format": "string",
                    "service_tier": "string",
                    "user": "string",
                },
            ),
            embedding=None,
        ),
        ModelProvider.MISTRAL: ProviderCapabilities(
            chat=ChatCapabilities(
                default_model="mistral-small-latest",
                options=_ALL,
                context_tokens={
                    "mistral-large-latest": 131_072,
                    "mistral-medium-latest": 131_072,
                    "mistral-small-latest": 131_072,
                },
                max_temperature=1.5,
                provider_options={
                    "parallel_tool_calls": "boolean",
                    "prompt_mode": "string",
                    "safe_prompt": "boolean",
                },
            ),
            embedding=EmbeddingCapabilities(
                default_model="mistral-embed",
                models={
                    "mistral-embed": EmbeddingModel(1024),
                    "codestral-embed": EmbeddingModel(1536, settable_dimensions=True),
                },
                max_texts=128,
                max_tokens=16_000,
            ),
        ),
        ModelProvider.LOCAL: ProviderCapabilities(
            chat=ChatCapabilities(
                default_model="SmolLM2-135M-Instruct",
                options=_ALL,
                context_tokens={"SmolLM2-135M-Instruct": 4096},
                provider_options={
                    "min_p": "number",
                    "repeat_penalty": "number",
                    "top_k": "number",
                },
            ),
            embedding=EmbeddingCapabilities(
                default_model="multilingual-e5-small",
                models={
                    "multilingual-e5-small": EmbeddingModel(384, max_input_tokens=512, prefix="e5")
                },
                max_texts=2048,
                max_tokens=1_000_000,
            ),
        ),
    }
)


def default_model(provider: ModelProvider, kind: ConnectionKind) -> str:
    """The model where a provider is named without one; "" where it has no such operation."""
    row = MATRIX[provider]
    capabilities = row.chat if kind == "chat" else row.embedding
    return capabilities.default_model if capabilities else ""


def embedding_model(provider: ModelProvider, model: str) -> EmbeddingModel | None:
    """What is known of an embedding model; `None` for one that is passed on as it is."""
    embedding = MATRIX[provider].embedding
    return embedding.models.get(model) if embedding else None


def provider_options(provider: ModelProvider, kind: ConnectionKind) -> Mapping[str, str]:
    """The entries that provider_configs may hold for this provider and operation."""
    row = MATRIX[provider]
    capabilities = row.chat if kind == "chat" else row.embedding
    return capabilities.provider_options if capabilities else {}
