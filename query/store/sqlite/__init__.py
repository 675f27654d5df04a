"""The embedded store: one SQLite file with exact vector search and full text."""

from query.store.sqlite.adapter import SqliteStore

__all__ = ["SqliteStore"]
