"""The embedding space: what two vectors must share before they can be compared."""

from dataclasses import dataclass

from config_core.model_configuration import ModelProvider


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Provider, model, dimensions, input prefix and the endpoint's declared space.

    `prefix` names the convention by which queries and passages are marked before they are
    embedded ("" for none). `endpoint_space` is what the operator declared for a registered
    endpoint (its name by default) and "" for the provider's own service. Two spaces are the same
    exactly when all five agree; equal dimensions alone mean nothing.
    """

    provider: ModelProvider
    model: str
    dimensions: int
    prefix: str = ""
    endpoint_space: str = ""

    def __str__(self) -> str:
        place = f" at {self.endpoint_space}" if self.endpoint_space else ""
        prefix = f", prefix {self.prefix}" if self.prefix else ""
        return f"{self.provider}/{self.model}{place}, {self.dimensions} dimensions{prefix}"
