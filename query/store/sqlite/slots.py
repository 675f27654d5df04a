"""Slots: where the vectors of a collection stand, numbered from 0 without a gap.

A removed chunk's slot is taken by a new one or else by the last, so that neither replacements nor
deletions ever leave holes to scan.
"""

import apsw
import numpy as np

from query.store.sqlite import code_blocks, vector_blocks
from query.store.sqlite.blocks import Floats, Slots
from query.store.sqlite.catalog import Scope


def place(
    connection: apsw.Connection, scope: Scope, freed: Slots, vectors: Floats, approximate_from: int
) -> Slots:
    """Store vectors and return their slots; no chunk may stand in one of `freed` any more.

    A collection whose vectors have reached `approximate_from` bytes gets codes, and keeps them.
    """
    before = scope.collection.chunk_count
    after = before - len(freed) + len(vectors)
    free = np.concatenate([np.sort(freed), np.arange(before, max(before, after))])
    slots, holes = free[: len(vectors)], free[len(vectors) :]
    into = holes[holes < after]
    last = np.setdiff1d(np.arange(after, before), holes)
    connection.executemany(
        "UPDATE places SET slot = ? WHERE collection = ? AND slot = ?",
        [(to, scope.id, old) for to, old in zip(into.tolist(), last.tolist(), strict=True)],
    )
    changed = np.concatenate([slots, into])
    values = np.concatenate([vectors, vector_blocks.gather(connection, scope, last)])
    vector_blocks.write(connection, scope, changed, values)
    vector_blocks.cut(connection, scope, after)
    centre = code_blocks.centre_of(connection, scope)
    if centre is not None:
        code_blocks.write(connection, scope, changed, values, centre)
        code_blocks.cut(connection, scope, after)
    elif len(changed) and 4 * scope.dimensions * after >= approximate_from:
        code_blocks.build(connection, scope, after)
    return slots
