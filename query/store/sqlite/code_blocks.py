"""The codes of a large collection, packed by slot like its vectors, a sixteenth of their size.

A block holds its codes word by word, so that one instruction works on many vectors: first the
words of the signs, then those of the second plane, last factor and offset of each vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import apsw
import numpy as np

from query.store.sqlite import catalog, pieces, vector_blocks
from query.store.sqlite.blocks import Floats, Slots, Words, by_block
from query.store.sqlite.catalog import Scope
from query.store.sqlite.codes import Codes, encode, words_of
from query.store.sqlite.connection import transaction
from query.store.sqlite.pieces import PIECE_BYTES, Pieces

_BLOCK_BYTES = 64 * 1024
_VERSIONS = "code_pieces"


@dataclass(frozen=True, slots=True)
class CodePiece:
    """Codes that follow one another: `start` is the slot of the first, `size` counts them."""

    start: int
    size: int
    signs: Words
    """Blocks by words by rows; so is `second`."""
    second: Words
    scale: Floats
    """Blocks by rows; so is `offset`."""
    offset: Floats

    def take(self, places: Slots) -> Codes:
        """The codes at these places, counted from `start`."""
        block, row = np.divmod(places, self.signs.shape[2])
        return Codes(
            signs=self.signs.transpose(1, 0, 2)[:, block, row],
            second=self.second.transpose(1, 0, 2)[:, block, row],
            scale=self.scale[block, row],
            offset=self.offset[block, row],
        )


def centre_of(connection: apsw.Connection, scope: Scope) -> Floats | None:
    """What the collection's codes are told from; None where it has no codes."""
    row = connection.execute(
        "SELECT centre FROM centres WHERE collection = ?", (scope.id,)
    ).fetchone()
    return None if row is None else np.frombuffer(row[0], "<f4")


def scan(
    connection: apsw.Connection, scope: Scope, count: int, memory: Pieces
) -> Iterator[CodePiece]:
    """The codes of the first `count` slots, piece by piece, each until the next step."""
    words, rows, blocks = words_of(scope.dimensions), _rows(scope), _blocks_of_piece(scope)
    layout = pieces.Layout(
        _VERSIONS,
        lambda length: np.empty((length, _words(scope), rows), "<u8"),
        lambda number, piece: _read(connection, scope, number * blocks, piece),
    )
    starts = range(0, count, rows * blocks)
    lengths = [min(blocks, -(-(count - start) // rows)) for start in starts]
    walk = pieces.walk(connection, scope, layout, lengths, memory)
    for start, length, piece in zip(starts, lengths, walk, strict=True):
        factors = piece[:length, 2 * words].view("<f4").reshape(length, rows, 2)
        yield CodePiece(
            start=start,
            size=min(rows * length, count - start),
            signs=piece[:length, :words],
            second=piece[:length, words : 2 * words],
            scale=factors[:, :, 0],
            offset=factors[:, :, 1],
        )


def build_missing(connection: apsw.Connection, approximate_from: int) -> None:
    """Give codes to large collections that have none: the file is old, or the limit was higher."""
    while catalog.uncoded(connection, approximate_from):
        with transaction(connection, write=True):
            for scope in catalog.uncoded(connection, approximate_from)[:1]:
                build(connection, scope, scope.collection.chunk_count)


def build(connection: apsw.Connection, scope: Scope, count: int) -> None:
    """Encode the first `count` vectors around their mean."""
    nothing = Pieces(0)
    total = np.zeros(scope.dimensions)
    for _, vectors in vector_blocks.scan(connection, scope, count, nothing):
        total += vectors.sum(axis=0, dtype=np.float64)
    centre = (total / count).astype("<f4")
    connection.execute("INSERT INTO centres VALUES (?,?)", (scope.id, centre.tobytes()))
    for start, vectors in vector_blocks.scan(connection, scope, count, nothing):
        write(connection, scope, np.arange(start, start + len(vectors)), vectors, centre)


def write(
    connection: apsw.Connection, scope: Scope, slots: Slots, vectors: Floats, centre: Floats
) -> None:
    """Put the codes of the vectors into these slots."""
    words, rows = words_of(scope.dimensions), _rows(scope)
    codes = encode(vectors, centre)
    for number, chosen in by_block(slots, rows):
        key = scope.first_key + number
        places = slots[chosen] % rows
        row = connection.execute("SELECT data FROM code_blocks WHERE id = ?", (key,)).fetchone()
        block = np.zeros((2 * words + 1, rows), "<u8")
        if row is not None:
            block[:] = np.frombuffer(row[0], "<u8").reshape(block.shape)
        block[:words, places] = codes.signs[:, chosen]
        block[words : 2 * words, places] = codes.second[:, chosen]
        factors = block[2 * words].view("<f4").reshape(rows, 2)
        factors[places, 0] = codes.scale[chosen]
        factors[places, 1] = codes.offset[chosen]
        connection.execute("REPLACE INTO code_blocks VALUES (?,?)", (key, block.tobytes()))
    changed = np.unique(slots // (rows * _blocks_of_piece(scope))).tolist()
    pieces.change(connection, _VERSIONS, scope, changed)


def cut(connection: apsw.Connection, scope: Scope, count: int) -> None:
    """Give up what is behind the first `count` slots, and with the last the centre."""
    rows = _rows(scope)
    for table, each in (("code_blocks", rows), (_VERSIONS, rows * _blocks_of_piece(scope))):
        pieces.cut(connection, table, scope, -(-count // each))
    if not count:
        connection.execute("DELETE FROM centres WHERE collection = ?", (scope.id,))


def _words(scope: Scope) -> int:
    """The words of one vector: two planes, and one for factor and offset."""
    return 2 * words_of(scope.dimensions) + 1


def _rows(scope: Scope) -> int:
    return max(64, _BLOCK_BYTES // (8 * _words(scope)) // 64 * 64)


def _blocks_of_piece(scope: Scope) -> int:
    return max(1, PIECE_BYTES // (8 * _words(scope) * _rows(scope)))


def _read(connection: apsw.Connection, scope: Scope, first: int, piece: Words) -> None:
    """Fill `piece` with the blocks from number `first` on."""
    memory = piece.reshape(-1).data.cast("B")
    width = piece.nbytes // len(piece)
    key = scope.first_key + first
    with connection.blob_open("main", "code_blocks", "data", key, False) as blob:  # noqa: FBT003 # apsw takes no keywords here
        for number in range(len(piece)):
            if number:
                blob.reopen(key + number)
            blob.read_into(memory, number * width, width)
