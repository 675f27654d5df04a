"""A chunk's place in its collection as one number: its document's number, then its ordinal."""

import numpy as np
from numpy.typing import NDArray

_ORDINAL_BITS = 24

MAX_CHUNKS = 1 << _ORDINAL_BITS
"""The most chunks of one document."""

Places = NDArray[np.int64]

PLACE = f"document << {_ORDINAL_BITS} | ordinal"
"""The place of a row, in SQL."""


def first_place(document: int) -> int:
    """The place of the document's first chunk; the others follow."""
    return document << _ORDINAL_BITS


def at_places(table: str, parameter: int) -> str:
    """SQL that joins `table` to the places bound to $`parameter`, as `wanted (place, rank)`."""
    return (
        f"unnest(${parameter}::bigint[]) WITH ORDINALITY AS wanted (place, rank)"
        f" JOIN {table} ON {table}.collection = $1"
        f" AND {table}.document = wanted.place >> {_ORDINAL_BITS}"
        f" AND {table}.ordinal = (wanted.place & {MAX_CHUNKS - 1})::integer"
    )
