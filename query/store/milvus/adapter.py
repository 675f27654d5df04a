"""The store port on a Milvus server or cluster, shared by any number of processes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from typing_extensions import override

from config_core.space import EmbeddingSpace
from query.store.errors import CollectionNotFoundError, StoreError, StoreUnavailableError
from query.store.milvus import promotion
from query.store.milvus.address import Address, parse
from query.store.milvus.catalog import Catalog, Scope
from query.store.milvus.clearing import Clearing
from query.store.milvus.connection import Connection
from query.store.milvus.descriptions import Descriptions
from query.store.milvus.documents import Documents
from query.store.milvus.journal import WRITE_LIMIT_SECONDS, Journal
from query.store.milvus.keys import ordered_key
from query.store.milvus.layout import check_schema
from query.store.milvus.passages import prepare
from query.store.milvus.search import Search
from query.store.milvus.tables import Tables
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

Result = TypeVar("Result")

_HEALTHY_SECONDS = 5.0


class MilvusStore(Store):
    """What a method means is said at the port; `documents` says how a write is one unit."""

    def __init__(self, address: Address) -> None:
        self._connection = Connection(address)
        self._tables = Tables(self._connection)
        self._catalog = Catalog(self._connection)
        self._journal = Journal(self._connection)
        self._documents = Documents(self._connection, self._tables, self._journal)
        self._descriptions = Descriptions(self._connection, self._tables)
        self._clearing = Clearing(
            self._connection, self._tables, self._catalog, self._journal, self._documents
        )
        self._search = Search(self._connection, self._tables, self._catalog, self._documents)
        self._begun: set[asyncio.Task[object]] = set()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store at `milvus://host:port/database`; ValueError."""
        return cls(parse(url))

    @override
    async def __aenter__(self) -> Self:
        await self.open()
        return self

    @override
    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @override
    async def open(self) -> None:
        await self._connection.open()
        try:
            await self._tables.open()
            await check_schema(self._connection)
            await self._clearing.left_behind()
        except BaseException:
            await self.close()
            raise

    @override
    async def close(self) -> None:
        while self._begun:
            await asyncio.wait(self._begun)
        await self._connection.close()

    @override
    async def healthy(self) -> bool:
        try:
            async with asyncio.timeout(_HEALTHY_SECONDS):
                await self._catalog.find("", "")
        except (StoreError, TimeoutError):
            return False
        return True

    @override
    async def put_document(
        self, tenant: str, collection: str, space: EmbeddingSpace, endpoint: str, document: Document
    ) -> bool:
        check_name(collection)
        table = await self._tables.chunks(space.dimensions)
        try:
            prepared = await asyncio.to_thread(
                prepare, document, space.dimensions, full_text=table.full_text
            )
        except ValueError:
            # Vectors of a wrong length are less to the point than that the space is the wrong one.
            await self._catalog.check(tenant, collection, space)
            raise

        async def put(scope: Scope) -> bool:
            replaced = await self._documents.put(scope, prepared)
            await self._descriptions.touch(scope, endpoint)
            return replaced

        return await self._write(
            tenant, collection, put, lambda: self._catalog.pin(tenant, collection, space)
        )

    @override
    async def get_document(
        self, tenant: str, collection: str, document_id: str
    ) -> StoredDocument | None:
        key = ordered_key(document_id)

        async def read(scope: Scope) -> StoredDocument | None:
            found = (await self._documents.read(scope, [key])).get(key)
            return found.stored if found else None

        try:
            return await self._read(tenant, collection, read)
        except CollectionNotFoundError:
            return None

    @override
    async def get_chunks(
        self,
        tenant: str,
        collection: str,
        document_id: str,
        first: int = 0,
        last: int | None = None,
    ) -> list[StoredChunk]:
        return await self._read(
            tenant,
            collection,
            lambda scope: self._documents.chunks(scope, document_id, first, last),
        )

    @override
    async def list_documents(
        self, tenant: str, collection: str, page_size: int, page_token: str = ""
    ) -> tuple[list[StoredDocument], str]:
        check_page_size(page_size)
        after = key_before("documents", page_token)
        rows = await self._read(
            tenant,
            collection,
            lambda scope: self._documents.page(scope, after, page_size + 1),
            whole=False,
        )
        more = len(rows) > page_size
        rows = rows[:page_size]
        return rows, token_after("documents", rows[-1].document_id) if more else ""

    @override
    async def delete_documents(
        self, tenant: str, collection: str, document_ids: Sequence[str]
    ) -> list[str]:
        wanted = list(dict.fromkeys(document_ids))
        deleted: set[str] = set()

        async def delete(scope: Scope) -> None:
            if found := await self._documents.delete(scope, wanted):
                deleted.update(found)
                await self._descriptions.touch(scope)

        await self._write(
            tenant, collection, delete, lambda: self._catalog.unheld_scope(tenant, collection)
        )
        return [each for each in wanted if each in deleted]

    @override
    async def get_collection(self, tenant: str, name: str) -> Collection | None:
        found = await self._descriptions.describe([await self._catalog.find(tenant, name)])
        return found[0] if found else None

    @override
    async def list_collections(
        self, tenant: str, page_size: int, page_token: str = ""
    ) -> tuple[list[Collection], str]:
        check_page_size(page_size)
        after = key_before("collections", page_token)
        entries = await self._catalog.page(tenant, after, page_size + 1)
        more = len(entries) > page_size
        found = await self._descriptions.describe(entries[:page_size])
        return found, token_after("collections", found[-1].name) if more else ""

    @override
    async def delete_collection(self, tenant: str, name: str) -> bool:
        return await self._finished(self._delete_collection(tenant, name))

    @override
    async def promote_collection(self, tenant: str, name: str) -> bool:
        return await self._finished(
            promotion.promote(self._catalog, self._documents, self._clearing, tenant, name)
        )

    @override
    async def search(self, tenant: str, collection: str, query: SearchQuery) -> list[Hit]:
        return await self._search.hits(tenant, collection, query)

    async def _delete_collection(self, tenant: str, name: str) -> bool:
        entry = await self._catalog.unheld(tenant, name)
        if entry.scope is not None:
            await self._clearing.end(entry.scope, entry.given_up())
        return entry.scope is not None

    async def _read(
        self,
        tenant: str,
        name: str,
        read: Callable[[Scope], Awaitable[Result]],
        *,
        whole: bool = True,
    ) -> Result:
        """What `read` finds, again where the name has come to mean another generation meanwhile.

        While one goes it holds less and less; `whole` says that what is found of it is complete.
        """
        scope = await self._catalog.require(tenant, name)
        while not (found := await read(scope)) or not whole:
            now = await self._catalog.require(tenant, name)
            if now == scope:
                break
            scope = now
        return found

    async def _write(
        self,
        tenant: str,
        name: str,
        write: Callable[[Scope], Awaitable[Result]],
        find: Callable[[], Awaitable[Scope]],
    ) -> Result:
        """Write, and again where the name has come to mean another generation meanwhile."""

        async def settled() -> Result:
            while True:
                scope = await find()
                result = await write(scope)
                now = await self._catalog.unheld(tenant, name)
                if now.scope == scope:
                    return result
                if not await self._catalog.is_alive(scope.generation):
                    await self._clearing.delete(scope)
                if now.scope is None:
                    return result  # as if it had been given up a moment later

        return await self._finished(settled())

    async def _finished(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of work that goes on to its end even if nobody waits for it any more."""

        async def limited() -> Result:
            async with asyncio.timeout(WRITE_LIMIT_SECONDS):
                return await work

        task = asyncio.create_task(limited())
        self._begun.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except TimeoutError:
            raise StoreUnavailableError(
                "The Milvus server took too long to write; try again."
            ) from None

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()
