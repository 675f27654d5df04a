"""Collections and documents as they are listed, described and removed."""

from collections.abc import Sequence

from config_core.errors import CollectionNotFoundError, DocumentNotFoundError
from query.errors import store_errors_for
from query.store import Collection, Store, StoredDocument


class Catalog:
    """One tenant's collections at a time; another tenant's are absent."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_collections(
        self, tenant: str, page_size: int, page_token: str
    ) -> tuple[list[Collection], str]:
        """A page of collections by name, and the token of the next page ("" on the last)."""
        async with store_errors_for():
            return await self._store.list_collections(tenant, page_size, page_token)

    async def list_documents(
        self, tenant: str, collection: str, page_size: int, page_token: str
    ) -> tuple[list[StoredDocument], str]:
        """A page of documents by id, and the token of the next page; CollectionNotFoundError."""
        async with store_errors_for(collection):
            return await self._store.list_documents(tenant, collection, page_size, page_token)

    async def get_collection(self, tenant: str, name: str) -> Collection:
        """A collection's description; CollectionNotFoundError."""
        async with store_errors_for():
            collection = await self._store.get_collection(tenant, name)
        if collection is None:
            raise CollectionNotFoundError(name)
        return collection

    async def delete_collection(self, tenant: str, name: str) -> None:
        """Remove a collection with all its documents; CollectionNotFoundError."""
        async with store_errors_for():
            deleted = await self._store.delete_collection(tenant, name)
        if not deleted:
            raise CollectionNotFoundError(name)

    async def delete_documents(
        self, tenant: str, collection: str, document_ids: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        """Remove documents: the ids that were there, and those that were not.

        DocumentNotFoundError where none was.
        """
        asked = list(dict.fromkeys(document_ids))
        async with store_errors_for(collection):
            deleted = await self._store.delete_documents(tenant, collection, asked)
        if not deleted:
            raise DocumentNotFoundError(collection)
        gone = set(deleted)
        return [name for name in asked if name in gone], [
            name for name in asked if name not in gone
        ]
