"""The port through which the embedding service reaches embedding models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pydantic import JsonValue

from config_core.connection import Connection
from service_core.usage import Usage


class InputKind(StrEnum):
    """What a text is for; some models mark the two differently."""

    QUERY = "query"
    PASSAGE = "passage"


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """One attempt over a batch of non-blank texts. Time limits are the caller's business."""

    connection: Connection
    model: str
    texts: Sequence[str]
    kind: InputKind
    dimensions: int | None = None
    """Vector length to ask the provider for; `None` where the model's own is wanted."""
    options: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """One vector a text, in order, each of little-endian float32; all finite and of one length."""

    vectors: Sequence[bytes]
    usage: Usage
    model: str
    request_id: str = ""


class EmbeddingProvider(Protocol):
    """One provider's embeddings. Raises only `UpstreamError`s, and never retries by itself."""

    async def embed(self, call: EmbedCall) -> EmbedResult:
        """Embed the batch, all or nothing."""
        ...

    async def aclose(self) -> None:
        """Release what the provider holds."""
        ...
