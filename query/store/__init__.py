"""The vector store: documents, their chunks and vectors, by tenant and collection."""

from query.store.errors import (
    CollectionNotFoundError,
    InvalidPageTokenError,
    SchemaTooNewError,
    SpaceMismatchError,
    StoreError,
    StoreUnavailableError,
)
from query.store.model import (
    Chunk,
    Collection,
    Condition,
    Document,
    Equals,
    Filter,
    Hit,
    MetadataValue,
    OneOf,
    Range,
    SearchMode,
    SearchQuery,
    StoredChunk,
    StoredDocument,
    staged,
)
from query.store.opening import open_store
from query.store.port import Store

__all__ = [
    "Chunk",
    "Collection",
    "CollectionNotFoundError",
    "Condition",
    "Document",
    "Equals",
    "Filter",
    "Hit",
    "InvalidPageTokenError",
    "MetadataValue",
    "OneOf",
    "Range",
    "SchemaTooNewError",
    "SearchMode",
    "SearchQuery",
    "SpaceMismatchError",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "StoredChunk",
    "StoredDocument",
    "open_store",
    "staged",
]
