"""Vectors as the stores keep them: little-endian float32 of length one."""

import numpy as np


def normalised(vector: bytes, dimensions: int) -> bytes:
    """The same direction with length one.

    Raises ValueError for another number of dimensions, and for a vector that has no direction
    (all zeros) or is not finite: a cosine with it would mean nothing.
    """
    if len(vector) != 4 * dimensions:
        raise ValueError(f"a vector must have {dimensions} dimensions of 4 bytes each")
    values = np.frombuffer(vector, dtype="<f4").astype(np.float64)
    length = float(np.linalg.norm(values))
    if not np.isfinite(length) or length == 0.0:
        raise ValueError("a vector must be finite and not all zeros")
    return (values / length).astype("<f4").tobytes()
