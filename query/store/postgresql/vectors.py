"""Vectors on the wire: pgvector's binary form, and the stores' little-endian float32."""

import struct

import numpy as np

MAX_DIMENSIONS = 16_000
MAX_INDEXED_DIMENSIONS = 4_000
"""What an index of half-precision vectors takes."""

_HEADER = struct.Struct("!HH")


def encode(vector: bytes) -> bytes:
    """Little-endian float32 as pgvector receives it: a header, then big-endian float32."""
    return _HEADER.pack(len(vector) // 4, 0) + np.frombuffer(vector, "<f4").astype(">f4").tobytes()


def decode(data: bytes) -> bytes:
    """What pgvector sends as little-endian float32."""
    return np.frombuffer(data, ">f4", offset=_HEADER.size).astype("<f4").tobytes()


def score(negative_product: float) -> float:
    """The cosine similarity of two unit vectors from pgvector's `<#>`, within [-1, 1]."""
    return max(-1.0, min(1.0, -negative_product))
