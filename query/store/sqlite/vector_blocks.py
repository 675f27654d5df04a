"""The vectors of a collection, packed: slot after slot in blocks, each the BLOB of one row.

A block is about 32 KiB: few enough reads for a scan, and a single vector is a few pages away.
Blocks are read straight into numpy's memory.
"""

from collections.abc import Iterator

import apsw
import numpy as np

from query.store.sqlite import pieces
from query.store.sqlite.blocks import Floats, Slots, by_block
from query.store.sqlite.catalog import Scope
from query.store.sqlite.pieces import PIECE_BYTES, Pieces

_BLOCK_BYTES = 32 * 1024
_VERSIONS = "vector_pieces"


def scan(
    connection: apsw.Connection, scope: Scope, count: int, memory: Pieces
) -> Iterator[tuple[int, Floats]]:
    """The vectors of the first `count` slots: a first slot, and a matrix until the next step."""
    size = _rows_of_piece(scope)
    layout = pieces.Layout(
        _VERSIONS,
        lambda length: np.empty((length, scope.dimensions), "<f4"),
        lambda number, piece: _read(connection, scope, number * size, piece),
    )
    starts = range(0, count, size)
    lengths = [min(size, count - start) for start in starts]
    walk = pieces.walk(connection, scope, layout, lengths, memory)
    for start, length, piece in zip(starts, lengths, walk, strict=True):
        yield start, piece[:length]


def gather(connection: apsw.Connection, scope: Scope, slots: Slots) -> Floats:
    """The vectors of these slots; quickest where they are in order."""
    rows, width = _rows(scope), 4 * scope.dimensions
    found = np.empty((len(slots), scope.dimensions), "<f4")
    if not len(slots):
        return found
    memory = found.reshape(-1).data.cast("B")
    opened = int(slots[0]) // rows
    with _open(connection, scope.first_key + opened) as blob:
        for place, slot in enumerate(slots.tolist()):
            number, row = divmod(slot, rows)
            if number != opened:
                blob.reopen(scope.first_key + number)
                opened = number
            blob.seek(row * width)
            blob.read_into(memory, place * width, width)
    return found


def write(connection: apsw.Connection, scope: Scope, slots: Slots, vectors: Floats) -> None:
    """Put a vector into each of these slots."""
    rows = _rows(scope)
    for number, chosen in by_block(slots, rows):
        key = scope.first_key + number
        places = slots[chosen] % rows
        old = np.frombuffer(_data(connection, key), "<f4").reshape(-1, scope.dimensions)
        block = np.zeros((max(len(old), int(places.max()) + 1), scope.dimensions), "<f4")
        block[: len(old)] = old
        block[places] = vectors[chosen]
        connection.execute("REPLACE INTO vector_blocks VALUES (?,?)", (key, block.tobytes()))
    changed = np.unique(slots // _rows_of_piece(scope)).tolist()
    pieces.change(connection, _VERSIONS, scope, changed)


def cut(connection: apsw.Connection, scope: Scope, count: int) -> None:
    """Give up what is behind the first `count` slots."""
    for table, rows in (("vector_blocks", _rows(scope)), (_VERSIONS, _rows_of_piece(scope))):
        pieces.cut(connection, table, scope, -(-count // rows))


def _rows(scope: Scope) -> int:
    return max(1, _BLOCK_BYTES // (4 * scope.dimensions))


def _rows_of_piece(scope: Scope) -> int:
    rows = _rows(scope)
    return rows * max(1, PIECE_BYTES // (4 * scope.dimensions * rows))


def _read(connection: apsw.Connection, scope: Scope, start: int, piece: Floats) -> None:
    """Fill `piece` with the vectors from slot `start` on."""
    rows, width = _rows(scope), 4 * scope.dimensions
    memory = piece.reshape(-1).data.cast("B")
    with _open(connection, scope.first_key + start // rows) as blob:
        for first in range(0, len(piece), rows):
            if first:
                blob.reopen(scope.first_key + (start + first) // rows)
            blob.read_into(memory, first * width, min(rows, len(piece) - first) * width)


def _open(connection: apsw.Connection, key: int) -> apsw.Blob:
    return connection.blob_open("main", "vector_blocks", "data", key, False)  # noqa: FBT003 # apsw takes no keywords here


def _data(connection: apsw.Connection, key: int) -> bytes:
    row = connection.execute("SELECT data FROM vector_blocks WHERE id = ?", (key,)).fetchone()
    data: bytes = row[0] if row else b""
    return data
