"""Decoding the vectors of an EmbedResponse."""

import sys
from array import array

_FLOAT32_BYTES = 4


def decode_embedding(data: bytes) -> "array[float]":
    """One entry of `EmbedResponse.embeddings` as numbers.

    Args:
        data: Packed little-endian IEEE 754 float32, as many as `space.dimensions`.

    Returns:
        An array of type code `f`: a sequence of floats, and a buffer that
        `numpy.frombuffer(vector, dtype="f4")` takes without a copy.

    Raises:
        ValueError: The data is empty or not a whole number of float32.
    """
    if not data or len(data) % _FLOAT32_BYTES:
        raise ValueError(f"{len(data)} bytes are not a vector of float32 values")
    vector = array("f", data)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
