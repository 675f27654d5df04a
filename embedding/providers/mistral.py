"""Mistral's embeddings."""

from typing import Any

from embedding.providers.port import EmbedCall
from embedding.providers.wire_embedding import WireEmbedding


class MistralEmbedding(WireEmbedding):
    """Embeddings through the Mistral SDK, as lists of numbers: its base64 does not work."""

    def body(self, call: EmbedCall) -> dict[str, Any]:
        """The request; `output_dimension` only where it is wanted."""
        body: dict[str, Any] = {
            **call.options,
            "model": call.model,
            "inputs": list(call.texts),
            "encoding_format": "float",
        }
        if call.dimensions is not None:
            body["output_dimension"] = call.dimensions
        return body
