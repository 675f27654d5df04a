"""What lies in the tables of a Milvus store, whether it counts or not."""

from dataclasses import dataclass

from query.store.milvus import MilvusStore
from query.store.milvus.connection import Connection
from query.store.milvus.tables import CATALOG, DOCUMENTS
from query.store.testing.corpus import DIMENSIONS


@dataclass(frozen=True, slots=True)
class Rows:
    """Numbers of rows."""

    documents: int
    chunks: int
    notes: int
    """Of what is under way, or to be cleared away."""


async def rows(store: object, dimensions: int = DIMENSIONS) -> Rows:
    """All rows of the store's database."""
    assert isinstance(store, MilvusStore)
    connection: Connection = store._connection
    return Rows(
        documents=await connection.count(DOCUMENTS, 'id != ""'),
        chunks=await connection.count(f"cascada_chunks_{dimensions}", 'id != ""'),
        notes=await connection.count(CATALOG, 'kind in ["unfinished", "ended"]'),
    )
