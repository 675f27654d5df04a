"""COLLECTION: the embedding space of the searched collection, never a credential."""

from dataclasses import dataclass

from config_core.layer import Layer
from config_core.source import Source
from config_core.space import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class PinnedSpace:
    """A collection's space, and the registered endpoint it was written through ("" for none)."""

    space: EmbeddingSpace
    endpoint: str = ""


def layer(pinned: PinnedSpace) -> Layer:
    """The layer that a pinned space makes."""
    fields: dict[str, object] = {
        "embedding_provider": pinned.space.provider,
        "embedding_model": pinned.space.model,
        "embedding_dimensions": pinned.space.dimensions,
    }
    if pinned.endpoint:
        fields["embedding_endpoint"] = pinned.endpoint
    return Layer(Source.COLLECTION, fields)
