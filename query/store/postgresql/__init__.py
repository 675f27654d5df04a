"""The store on a PostgreSQL server with pgvector, shared by any number of processes."""

from query.store.postgresql.adapter import PostgresqlStore

__all__ = ["PostgresqlStore"]
