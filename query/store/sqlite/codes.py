"""Vectors in two bits a dimension, and how a query's cosines are estimated from them.

A vector is told by its difference to the collection's centre: for each dimension the sign, and
whether it is large. Both are planes of bits, and so are the query's dimensions, rounded to a few
bits: an inner product then is a count of differing bits. What rounding takes away in length is
given back by a factor for each vector, so that the estimate is right on average (as in RaBitQ).

Of 50,000 vectors without any structure the ten nearest are among the best 3,000 estimates from
the signs alone, and among the best 200 from both planes. So the signs are compared in full, and
the second plane where they leave a chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from query.store.sqlite.blocks import Floats, Words

# The best four levels for a normally distributed value: +-0.4528 and +-1.510, parted at 0.9816.
# As sum of two signs: 0.9814 s + 0.5286 t.
_PARTING = 0.9816
_SIGN = 0.9814
_SECOND = 0.5286
# How much longer a vector gets from its signs alone than from both planes.
_SIGNS_ALONE = 1.106
_COARSE_STEP = 0.498


def words_of(dimensions: int) -> int:
    """The 64-bit words of one plane."""
    return -(-dimensions // 64)


@dataclass(frozen=True, slots=True)
class Codes:
    """Rounded vectors, one to a column."""

    signs: Words
    """Words by vectors; so is `second`."""
    second: Words
    scale: Floats
    offset: Floats


def encode(vectors: Floats, centre: Floats) -> Codes:
    """Round vectors of length one."""
    difference = vectors - centre
    length = np.sqrt(np.vecdot(difference, difference))[:, None]
    positive = difference > 0
    large = np.abs(difference) > length * np.float32(_PARTING / np.sqrt(vectors.shape[1]))
    second = positive == large
    rounded = np.where(positive, _SIGN, -_SIGN) + np.where(second, _SECOND, -_SECOND)
    along = np.vecdot(rounded.astype(np.float32), difference)
    square = length[:, 0] ** 2
    scale = np.divide(square, along, out=np.zeros_like(square), where=along > 0)
    return Codes(_packed(positive), _packed(second), scale, np.vecdot(difference, centre))


class Question:
    """A query to compare with codes around the same centre."""

    def __init__(self, query: Floats, centre: Floats) -> None:
        difference = query - centre
        self._dimensions = len(query)
        self._centre_cosine = np.vecdot(query, centre)
        spread = np.sqrt(np.mean(difference**2))
        self._coarse_step = np.float32(_COARSE_STEP * spread)
        self._coarse = _planes(difference, self._coarse_step, 2)
        self._fine_step = np.abs(difference).max() / np.float32(15)
        self._fine = _planes(difference, self._fine_step, 4)

    def rough(self, signs: Words, scale: Floats, offset: Floats) -> Floats:
        """Cosines from signs alone: blocks by words by vectors; the others blocks by vectors."""
        product = self._product(signs, self._coarse) * (_SIGNS_ALONE * self._coarse_step)
        estimate: Floats = scale * product + offset + self._centre_cosine
        return estimate

    def estimate(self, codes: Codes) -> Floats:
        """Cosines from both planes."""
        signs = self._product(codes.signs, self._fine) * (_SIGN * self._fine_step)
        second = self._product(codes.second, self._fine) * (_SECOND * self._fine_step)
        estimate: Floats = codes.scale * (signs + second) + codes.offset + self._centre_cosine
        return estimate

    def _product(self, bits: Words, planes: Words) -> Floats:
        """The inner product of signs, words by vectors, with the query in steps of its rounding."""
        differing = np.zeros(1, np.uint16)
        for weight, plane in enumerate(planes):
            counts = np.bitwise_count(bits ^ plane[:, None])
            differing = differing + (np.add.reduce(counts, axis=-2, dtype=np.uint16) << weight)
        most = (1 << len(planes)) - 1
        return np.float32(most * self._dimensions) - np.float32(2) * differing


def _planes(values: Floats, step: np.float32, count: int) -> Words:
    """Values as odd multiples of `step`: the planes of their bits, from the lowest."""
    most = (1 << count) - 1
    if step == 0:
        levels = np.zeros(len(values), np.uint8)
    else:
        levels = np.clip(np.rint((values / step + most) / 2), 0, most).astype(np.uint8)
    return np.stack([_packed((levels >> plane & 1).astype(np.bool_)) for plane in range(count)])


def _packed(bits: NDArray[np.bool_]) -> Words:
    """The bits of the last axis as words, which become the first axis."""
    padding = [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % 64)]
    packed = np.packbits(np.pad(bits, padding), axis=-1, bitorder="little")
    words: Words = packed.view("<u8").T
    return words
