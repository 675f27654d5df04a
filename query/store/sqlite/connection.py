"""Connections to the SQLite file: settings, transactions, and apsw's errors turned into ours."""

import itertools
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from query.store.errors import StoreUnavailableError

BUSY_SECONDS = 15.0
"""How long the lock of another process is waited for."""
_LOOK_SECONDS = (0.0005, 0.0015)
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


class _Patience:
    """Waits for the lock of another process, for one connection.

    SQLite's own waiting looks ten times a second in the end: where several processes write all the
    time, who waits would miss the moment between two transactions for as long as they go on.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()

    def waits(self, looks: int) -> bool:
        """Whether to look again, after a moment; `looks` have been in vain."""
        now = time.monotonic()
        if looks == 0:
            self._since = now
        if now - self._since >= BUSY_SECONDS:
            return False
        time.sleep(random.uniform(*_LOOK_SECONDS))  # noqa: S311 # no secret
        return True


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
        connection.set_busy_handler(_Patience().waits)
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}").fetchall()
        _begin_log(connection)
        connection.execute(
            "PRAGMA synchronous = FULL;"
            "PRAGMA trusted_schema = OFF;"
            f"PRAGMA cache_size = -{_CACHE_KIBIBYTES};"
            f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES};"
        ).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_log(connection: apsw.Connection) -> None:
    """Have the file written ahead in a log; SQLite itself does not wait for who does the same."""
    patience = _Patience()
    for looks in itertools.count(1):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except apsw.BusyError:
            if not patience.waits(looks):
                raise
        else:
            return


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
