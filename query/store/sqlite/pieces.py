"""Pieces: the megabyte or so of blocks that a scan takes at a time, kept in memory for the next.

Every piece has a version, drawn anew with each change, which a search reads in its own transaction:
what is in memory is used where it is exactly what the search would read.
"""

# ruff: noqa: S608 - only fixed text becomes SQL

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apsw
from numpy.typing import NDArray

from query.store.sqlite.catalog import Scope

PIECE_BYTES = 1024 * 1024
"""About what a piece holds. Like the size of a block it belongs to the file's format."""

_MOST_BYTES = 96 * 1024 * 1024

Piece = NDArray[Any]


class Pieces:
    """The pieces used last, for all threads of one process.

    While there is room every piece is kept; after that one that is asked for again before long,
    so that searches all over the place do not drive out what is in use, at a cost.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[tuple[str, int], tuple[int, Piece]] = OrderedDict()
        self._asked: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, table: str, key: int, version: int | None) -> Piece | None:
        """The piece in that version, if it is here."""
        with self._lock:
            found = self._held.get((table, key))
            if found is None or found[0] != version:
                return None
            self._held.move_to_end((table, key))
            return found[1]

    def wants(self, table: str, key: int) -> bool:
        """Whether a piece that is not here, and has to be read, is to be kept."""
        with self._lock:
            if self._bytes + PIECE_BYTES <= self._most_bytes:
                return True
            if (table, key) in self._asked or (table, key) in self._held:
                return True
            self._asked[table, key] = None
            if len(self._asked) > self._most_bytes // PIECE_BYTES:
                self._asked.popitem(last=False)
            return False

    def keep(self, table: str, key: int, version: int | None, piece: Piece) -> None:
        """Keep the piece, which nobody may change any more, and let go of the longest unused."""
        if version is None:
            return
        with self._lock:
            self._asked.pop((table, key), None)
            self._let_go((table, key))
            self._held[table, key] = version, piece
            self._bytes += piece.nbytes
            while self._bytes > self._most_bytes:
                self._let_go(next(iter(self._held)))

    def _let_go(self, key: tuple[str, int]) -> None:
        if (found := self._held.pop(key, None)) is not None:
            self._bytes -= found[1].nbytes


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pieces of one table are read: new ones of a length, filled by number."""

    table: str
    """Where their versions are."""
    empty: Callable[[int], Piece]
    fill: Callable[[int, Piece], None]


def walk(
    connection: apsw.Connection,
    scope: Scope,
    layout: Layout,
    lengths: Iterable[int],
    memory: Pieces,
) -> Iterator[Piece]:
    """The collection's pieces in order. One that is not kept stands where the next will be."""
    known: dict[int, int] = dict(
        connection.execute(
            f"SELECT id, version FROM {layout.table} WHERE id BETWEEN ? AND ?",
            (scope.first_key, scope.last_key),
        )
    )
    passing: Piece | None = None
    for number, length in enumerate(lengths):
        key = scope.first_key + number
        version = known.get(key)
        piece = memory.get(layout.table, key, version)
        if piece is None and memory.wants(layout.table, key):
            piece = layout.empty(length)
            layout.fill(number, piece)
            memory.keep(layout.table, key, version, piece)
        elif piece is None:
            passing = layout.empty(length) if passing is None else passing
            piece = passing[:length]
            layout.fill(number, piece)
        yield piece


def change(connection: apsw.Connection, table: str, scope: Scope, numbers: Iterable[int]) -> None:
    """Give these pieces a version that they never had."""
    connection.executemany(
        f"REPLACE INTO {table} VALUES (?, random())",
        [(scope.first_key + number,) for number in numbers],
    )


def cut(connection: apsw.Connection, table: str, scope: Scope, count: int) -> None:
    """Delete the collection's rows of a table behind its first `count`."""
    connection.execute(
        f"DELETE FROM {table} WHERE id BETWEEN ? AND ?", (scope.first_key + count, scope.last_key)
    )
