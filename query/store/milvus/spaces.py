"""Embedding spaces as the tables keep them."""

from collections.abc import Sequence

from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace

SpaceFields = list[str | int]


def fields_of(space: EmbeddingSpace) -> SpaceFields:
    """The five parts of a space, as JSON takes them."""
    return [space.provider.value, space.model, space.dimensions, space.prefix, space.endpoint_space]


def space_of(fields: Sequence[str | int]) -> EmbeddingSpace:
    """The space that `fields_of` took apart."""
    provider, model, dimensions, prefix, endpoint_space = fields
    return EmbeddingSpace(
        ModelProvider(str(provider)), str(model), int(dimensions), str(prefix), str(endpoint_space)
    )
