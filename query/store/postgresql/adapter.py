"""The store port on a PostgreSQL server, shared by any number of processes on any machines."""

import asyncio
from collections.abc import Sequence
from typing import Self

from typing_extensions import override

from config_core.space import EmbeddingSpace
from query.store.errors import SpaceMismatchError, StoreUnavailableError
from query.store.model import (
    Collection,
    Document,
    Hit,
    SearchQuery,
    StoredChunk,
    StoredDocument,
    check_name,
    check_page_size,
)
from query.store.paging import key_before, token_after
from query.store.port import Store
from query.store.postgresql import catalog, documents
from query.store.postgresql.address import Address
from query.store.postgresql.connection import Connection
from query.store.postgresql.content import prepare
from query.store.postgresql.database import Database
from query.store.postgresql.search import search
from query.store.postgresql.upkeep import Upkeep


class PostgresqlStore(Store):
    """What a method means is said at the port.

    Every acknowledged write is committed. Each method finds its collection by tenant and name
    inside its own transaction and can reach rows through that scope only.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._database: Database | None = None
        self._upkeep: Upkeep | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store at `postgresql://user:password@host:port/database?setting=value`; ValueError.

        docs/configuration.md lists the settings; what is not the store's own is the driver's (such
        as sslmode) or the server's (such as hnsw.max_scan_tuples).
        """
        return cls(Address.parse(url))

    @override
    async def __aenter__(self) -> Self:
        await self.open()
        return self

    @override
    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @override
    async def open(self) -> None:
        if self._database is None:
            self._database = await Database.open(self._address)
            self._upkeep = Upkeep(
                self._database,
                hnsw_from=self._address.hnsw_from,
                memory_megabytes=self._address.hnsw_memory_megabytes,
                pause_seconds=self._address.upkeep_milliseconds / 1000,
            )

    @override
    async def close(self) -> None:
        upkeep, self._upkeep = self._upkeep, None
        database, self._database = self._database, None
        if upkeep is not None:
            await upkeep.close()
        if database is not None:
            await database.close()

    @override
    async def healthy(self) -> bool:
        return self._database is not None and await self._database.healthy()

    @override
    async def put_document(
        self, tenant: str, collection: str, space: EmbeddingSpace, endpoint: str, document: Document
    ) -> bool:
        check_name(collection)
        database, upkeep = self._opened
        try:
            content = await asyncio.to_thread(prepare, document, space.dimensions)
        except ValueError:
            # Vectors of another space's length are explained by the space.
            pinned = await self.get_collection(tenant, collection)
            if pinned is not None and pinned.space != space:
                raise SpaceMismatchError(expected=pinned.space, actual=space) from None
            raise

        async def put(connection: Connection) -> tuple[int, bool]:
            place = await catalog.pin(connection, tenant, collection, space, endpoint)
            return place.id, await documents.put(connection, place, content)

        key, replaced = await database.write(put)
        upkeep.wrote(key)
        return replaced

    @override
    async def get_document(
        self, tenant: str, collection: str, document_id: str
    ) -> StoredDocument | None:
        async def get(connection: Connection) -> StoredDocument | None:
            scope = await catalog.find(connection, tenant, collection)
            if scope is None:
                return None
            return await documents.get(connection, scope, document_id)

        return await self._opened[0].read(get)

    @override
    async def get_chunks(
        self,
        tenant: str,
        collection: str,
        document_id: str,
        first: int = 0,
        last: int | None = None,
    ) -> list[StoredChunk]:
        async def get(connection: Connection) -> list[StoredChunk]:
            scope = await catalog.require(connection, tenant, collection)
            return await documents.chunks(connection, scope, document_id, first, last)

        return await self._opened[0].read(get)

    @override
    async def list_documents(
        self, tenant: str, collection: str, page_size: int, page_token: str = ""
    ) -> tuple[list[StoredDocument], str]:
        check_page_size(page_size)
        after = key_before("documents", page_token)

        async def page(connection: Connection) -> list[StoredDocument]:
            scope = await catalog.require(connection, tenant, collection)
            return await documents.page(connection, scope, after, page_size + 1)

        rows = await self._opened[0].read(page)
        more = len(rows) > page_size
        rows = rows[:page_size]
        return rows, token_after("documents", rows[-1].document_id) if more else ""

    @override
    async def delete_documents(
        self, tenant: str, collection: str, document_ids: Sequence[str]
    ) -> list[str]:
        wanted = list(dict.fromkeys(document_ids))

        async def delete(connection: Connection) -> list[str]:
            place = await catalog.hold(connection, tenant, collection)
            return await documents.remove(connection, place, wanted)

        return await self._opened[0].write(delete)

    @override
    async def get_collection(self, tenant: str, name: str) -> Collection | None:
        scope = await self._opened[0].read(
            lambda connection: catalog.find(connection, tenant, name)
        )
        return scope.collection if scope else None

    @override
    async def list_collections(
        self, tenant: str, page_size: int, page_token: str = ""
    ) -> tuple[list[Collection], str]:
        check_page_size(page_size)
        after = key_before("collections", page_token)
        rows = await self._opened[0].read(
            lambda connection: catalog.page(connection, tenant, after, page_size + 1)
        )
        more = len(rows) > page_size
        rows = rows[:page_size]
        return rows, token_after("collections", rows[-1].name) if more else ""

    @override
    async def delete_collection(self, tenant: str, name: str) -> bool:
        database, upkeep = self._opened
        removed = await database.write(lambda connection: catalog.remove(connection, tenant, name))
        upkeep.discarded()
        return removed

    @override
    async def promote_collection(self, tenant: str, name: str) -> bool:
        database, upkeep = self._opened
        promoted = await database.write(
            lambda connection: catalog.promote(connection, tenant, name)
        )
        upkeep.discarded()
        return promoted

    @override
    async def search(self, tenant: str, collection: str, query: SearchQuery) -> list[Hit]:
        async def find(connection: Connection) -> list[Hit]:
            scope = await catalog.require(connection, tenant, collection)
            return await search(connection, scope, query)

        return await self._opened[0].read(find)

    @property
    def _opened(self) -> tuple[Database, Upkeep]:
        if self._database is None or self._upkeep is None:
            raise StoreUnavailableError("The store is not open.")
        return self._database, self._upkeep
