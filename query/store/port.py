"""The port that every store implements; `query.store.testing.StoreContract` says what it means.

Any method can raise StoreUnavailableError. Listings are in code point order; the page token is ""
for the first page and from the last, and a made-up one raises InvalidPageTokenError.
"""

from collections.abc import Sequence
from typing import Protocol, Self

from config_core.space import EmbeddingSpace
from query.store.model import (
    Collection,
    Document,
    Hit,
    SearchQuery,
    StoredChunk,
    StoredDocument,
)


class Store(Protocol):
    """Documents by tenant and collection; what another tenant holds does not exist."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *error: object) -> None: ...
    async def open(self) -> None:
        """Connect and bring the schema up to date; SchemaTooNewError."""

    async def close(self) -> None:
        """Finish what has begun, then disconnect."""

    async def healthy(self) -> bool:
        """Whether the store answers now; never raises."""

    async def put_document(
        self, tenant: str, collection: str, space: EmbeddingSpace, endpoint: str, document: Document
    ) -> bool:
        """Write or replace (True) one whole document; SpaceMismatchError."""

    async def get_document(
        self, tenant: str, collection: str, document_id: str
    ) -> StoredDocument | None:
        """The document without its text."""

    async def get_chunks(
        self,
        tenant: str,
        collection: str,
        document_id: str,
        first: int = 0,
        last: int | None = None,
    ) -> list[StoredChunk]:
        """The document's chunks of position `first` to `last` (None: the end), both included.

        In order; none where there is no such document. CollectionNotFoundError.
        """

    async def list_documents(
        self, tenant: str, collection: str, page_size: int, page_token: str = ""
    ) -> tuple[list[StoredDocument], str]:
        """A page of documents by id, and the next token; CollectionNotFoundError."""

    async def delete_documents(
        self, tenant: str, collection: str, document_ids: Sequence[str]
    ) -> list[str]:
        """Delete, and return the ids that existed; CollectionNotFoundError."""

    async def get_collection(self, tenant: str, name: str) -> Collection | None:
        """The collection with its space and counts."""

    async def list_collections(
        self, tenant: str, page_size: int, page_token: str = ""
    ) -> tuple[list[Collection], str]:
        """A page of collections by name, without the staged ones, and the next token."""

    async def delete_collection(self, tenant: str, name: str) -> bool:
        """Delete the collection with all it holds; False where there is none."""

    async def promote_collection(self, tenant: str, name: str) -> bool:
        """Let `staged(name)` take the place of `name`, with its name, in one step.

        False, and nothing is changed, where the two differ in any document's id or content hash: a
        writer has been at the old one. CollectionNotFoundError where either is absent.
        """

    async def search(self, tenant: str, collection: str, query: SearchQuery) -> list[Hit]:
        """The best chunks, best first; CollectionNotFoundError, SpaceMismatchError."""
