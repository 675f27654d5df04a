"""Connections to the SQLite file: settings, transactions, and apsw's errors turned into ours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from query.store.errors import StoreUnavailableError

BUSY_TIMEOUT_MILLISECONDS = 15_000
# Trees and postings; the blocks of vectors are read past it.
_CACHE_KIBIBYTES = 8_192
_WAL_LIMIT_BYTES = 64 * 1024 * 1024

# Larger pages make fewer steps of reading a block, smaller ones less to write for a small change.
_PAGE_BYTES = 8192

_SENTENCES: dict[type[apsw.Error], str] = {
    apsw.BusyError: "The store was locked by another process for too long; try again.",
    apsw.LockedError: "The store was locked by another process for too long; try again.",
    apsw.FullError: "The store's disk is full; free some space and try again.",
    apsw.CorruptError: "The store's file is damaged; restore it from a backup.",
    apsw.NotADBError: "The store's file is not a SQLite database; choose another path.",
    apsw.CantOpenError: "The store's file cannot be opened; check its path and permissions.",
    apsw.ReadOnlyError: "The store's file is read-only; check its permissions.",
    apsw.PermissionsError: "The store's file may not be accessed; check its permissions.",
    apsw.IOError: "The store's file cannot be read or written; check the disk and its free space.",
    apsw.ConnectionClosedError: "The store is closed.",
}


@contextmanager
def own_errors() -> Iterator[None]:
    """Turn what apsw and the file system raise into StoreUnavailableError, without their text."""
    try:
        yield
    except apsw.Error as error:
        sentence = _SENTENCES.get(type(error), "The store failed in an unexpected way.")
        code = getattr(error, "extendedresult", None)
        detail = f" (SQLite result {code})" if code is not None else ""
        raise StoreUnavailableError(sentence + detail) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailableError(f"The store's folder cannot be used: {reason}.") from None


def prepare_file(path: Path) -> None:
    """Create the parent folder (mode 0700) and the file (0600); SQLite's own files follow it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def connect(path: Path) -> apsw.Connection:
    """A connection with the store's settings.

    A commit is on disk when it returns (synchronous=FULL), and readers never wait for the writer
    (WAL).
    """
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MILLISECONDS)
        connection.execute(
            f"PRAGMA page_size = {_PAGE_BYTES};"
            "PRAGMA journal_mode = WAL;"
            "PRAGMA synchronous = FULL;"
            "PRAGMA trusted_schema = OFF;"
            f"PRAGMA cache_size = -{_CACHE_KIBIBYTES};"
            f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES};"
        ).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: apsw.Connection, *, write: bool) -> Iterator[None]:
    """One transaction: a consistent snapshot to read, or the write lock and all or nothing."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(apsw.Error):
                connection.execute("ROLLBACK")
        raise
