"""Embeddings over HTTP as OpenAI and Mistral have them in common; checks what comes back."""

import base64
import binascii
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding.providers.port import EmbedCall, EmbedResult
from service_core.upstream.clients import ClientPool, Operation
from service_core.upstream.exchange import JsonAnswer, Question, ask
from service_core.upstream.translate import broken
from service_core.usage import Usage, reported_tokens

_FLOAT_BYTES = 4


class VectorsError(Exception):
    """What came back is not one good vector a text; its text follows the provider's name."""


class WireEmbedding(ABC):
    """An EmbeddingProvider over a pool that the application closes."""

    def __init__(self, clients: ClientPool) -> None:
        self._clients = clients

    @abstractmethod
    def body(self, call: EmbedCall) -> dict[str, Any]:
        """The request in the provider's own JSON."""

    async def embed(self, call: EmbedCall) -> EmbedResult:
        """Embed the batch, all or nothing. How large one may be is in the capability matrix."""
        question = Question(call.connection, call.model, Operation.EMBEDDINGS, self.body(call))
        answer = await ask(self._clients, question)
        try:
            return _result(answer, call)
        except VectorsError as error:
            failure = broken(call.connection, str(error), answer.request_id)
        raise failure

    async def aclose(self) -> None:  # noqa: B027 # complete as it is
        """Nothing to release: the pool belongs to the application."""


def _result(answer: JsonAnswer, call: EmbedCall) -> EmbedResult:
    vectors = read_vectors(answer.data.get("data"), len(call.texts))
    length = len(vectors[0]) // _FLOAT_BYTES if vectors else 0
    if call.dimensions is not None and vectors and length != call.dimensions:
        raise VectorsError(f"gave vectors of length {length} instead of {call.dimensions}")
    usage = answer.data.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
    model = answer.data.get("model")
    return EmbedResult(
        vectors=vectors,
        usage=Usage(input_tokens=reported_tokens(tokens)),
        model=model if isinstance(model, str) and model else call.model,
        request_id=answer.request_id,
    )


def read_vectors(data: object, count: int) -> list[bytes]:
    """Give `count` vectors of little-endian float32 in the order of their indices. VectorsError."""
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise VectorsError("answered without embeddings")
    by_index: dict[int, object] = {}
    for position, item in enumerate(data):
        index = item.get("index", position)
        if type(index) is not int:
            raise VectorsError("gave an embedding whose index is no number")
        if index in by_index:
            raise VectorsError(f"gave the embedding of text {index} twice")
        by_index[index] = item.get("embedding")
    if by_index.keys() != set(range(count)):
        raise VectorsError(f"gave embeddings for {len(by_index)} texts, not for the {count} sent")
    vectors = [_vector(by_index[index], index) for index in range(count)]
    for index, vector in enumerate(vectors):
        if len(vector) != len(vectors[0]):
            raise VectorsError(f"gave an embedding of another length for text {index}")
    return [vector.tobytes() for vector in vectors]


def _vector(embedding: object, index: int) -> NDArray[np.float32]:
    vector = _decoded(embedding)
    if vector is None or vector.size == 0:
        raise VectorsError(f"gave no readable embedding for text {index}")
    if not np.isfinite(vector).all():
        raise VectorsError(f"gave an embedding that is not finite for text {index}")
    if not vector.any():
        raise VectorsError(f"gave an embedding of zeros for text {index}")
    return vector


def _decoded(embedding: object) -> NDArray[np.float32] | None:
    """Base64 of float32, or a list of numbers from an endpoint that knows no base64."""
    if isinstance(embedding, str):
        try:
            raw = base64.b64decode(embedding, validate=True)
        except (binascii.Error, ValueError):
            return None
        return np.frombuffer(raw, "<f4") if len(raw) % _FLOAT_BYTES == 0 else None
    if not isinstance(embedding, list) or not all(type(x) in (float, int) for x in embedding):
        return None
    with np.errstate(over="ignore"):
        try:
            return np.array(embedding, "<f4")
        except OverflowError:
            return None
