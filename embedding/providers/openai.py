"""OpenAI's embeddings, and those of every OpenAI-compatible endpoint."""

from typing import Any

from embedding.providers.port import EmbedCall
from embedding.providers.wire_embedding import WireEmbedding


class OpenAIEmbedding(WireEmbedding):
    """Embeddings through the OpenAI SDK, as base64, which is a quarter of the size."""

    def body(self, call: EmbedCall) -> dict[str, Any]:
        """The request; `dimensions` only where it is wanted, since not every model takes it."""
        body: dict[str, Any] = {
            **call.options,
            "model": call.model,
            "input": list(call.texts),
            "encoding_format": "base64",
        }
        if call.dimensions is not None:
            body["dimensions"] = call.dimensions
        return body
