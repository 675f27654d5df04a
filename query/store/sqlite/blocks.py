"""What blocks of vectors and blocks of codes share: their arrays, and which slot is in which."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Words = NDArray[np.uint64]
Slots = NDArray[np.int64]
Scores = NDArray[np.float64]


def by_block(slots: Slots, rows: int) -> Iterator[tuple[int, Slots]]:
    """Each block of `rows` slots that holds some of them, with their places among `slots`."""
    numbers = slots // rows
    for number in np.unique(numbers):
        yield int(number), np.flatnonzero(numbers == number)
