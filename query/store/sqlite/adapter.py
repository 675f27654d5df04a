"""The store port on one SQLite file, shared by any number of processes on one machine."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

import apsw
from typing_extensions import override

from config_core.space import EmbeddingSpace
from query.store.errors import StoreError, StoreUnavailableError
from query.store.model import (
    Collection,
    Document,
    Hit,
    SearchQuery,
    StoredChunk,
    StoredDocument,
    check_name,
    check_page_size,
    staged,
)
from query.store.paging import key_before, token_after
from query.store.port import Store
from query.store.sqlite import catalog, documents, passages
from query.store.sqlite.code_blocks import build_missing
from query.store.sqlite.database import Database
from query.store.sqlite.pieces import Pieces
from query.store.sqlite.search import search

APPROXIMATE_FROM = 20_000 * 384 * 4
"""The bytes of vectors from which a collection is searched by codes, if not said otherwise."""

_PREFIX = "sqlite:///"


class SqliteStore(Store):
    """What a method means is said at the port.

    Every acknowledged write is on disk. Each method finds its collection by tenant and name inside
    its own transaction and can reach rows through that scope only.
    """

    def __init__(self, path: Path, approximate_from: int = APPROXIMATE_FROM) -> None:
        self._path = path
        self._approximate_from = approximate_from
        self._pieces = Pieces()
        self._database: Database | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store at `sqlite:///relative/path` or `sqlite:////absolute/path`; ValueError.

        With `?approximate_from=BYTES` a collection is searched by codes of its vectors, and so
        may miss one neighbour in a hundred, once they have that many bytes (30,720,000 if not
        said, which is 20,000 of 384 dimensions); below it every search is exact.
        """
        path, _, parameters = url.removeprefix(_PREFIX).partition("?")
        if not url.startswith(_PREFIX) or not path or path.endswith("/") or "\0" in path:
            raise ValueError(
                "a SQLite store's URL is sqlite:/// and a file's path: "
                "sqlite:///data/store.db (relative) or sqlite:////var/lib/store.db (absolute)"
            )
        if not parameters:
            return cls(Path(path))
        name, _, number = parameters.partition("=")
        if name != "approximate_from" or not number.isascii() or not number.isdigit():
            raise ValueError(
                "behind the path of a SQLite store's URL stands nothing or "
                "?approximate_from= and a number of bytes"
            )
        return cls(Path(path), int(number))

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
            self._database = await Database.open(
                self._path, partial(build_missing, approximate_from=self._approximate_from)
            )

    @override
    async def close(self) -> None:
        if self._database is not None:
            database, self._database = self._database, None
            await database.close()

    @override
    async def healthy(self) -> bool:
        try:
            rows = await self._opened.read(
                lambda connection: connection.execute("SELECT 1 FROM schema_version").fetchall()
            )
        except StoreError:
            return False
        return bool(rows)

    @override
    async def put_document(
        self, tenant: str, collection: str, space: EmbeddingSpace, endpoint: str, document: Document
    ) -> bool:
        check_name(collection)
        return await self._opened.write(
            lambda connection: documents.put(
                connection,
                catalog.pin(connection, tenant, collection, space, endpoint),
                document,
                self._approximate_from,
            )
        )

    @override
    async def get_document(
        self, tenant: str, collection: str, document_id: str
    ) -> StoredDocument | None:
        return await self._opened.read(
            lambda connection: (
                documents.get(connection, scope, document_id)
                if (scope := catalog.find(connection, tenant, collection))
                else None
            )
        )

    @override
    async def get_chunks(
        self,
        tenant: str,
        collection: str,
        document_id: str,
        first: int = 0,
        last: int | None = None,
    ) -> list[StoredChunk]:
        return await self._opened.read(
            lambda connection: passages.between(
                connection,
                catalog.require(connection, tenant, collection),
                document_id,
                first,
                last,
            )
        )

    @override
    async def list_documents(
        self, tenant: str, collection: str, page_size: int, page_token: str = ""
    ) -> tuple[list[StoredDocument], str]:
        check_page_size(page_size)
        after = key_before("documents", page_token)
        rows = await self._opened.read(
            lambda connection: documents.page(
                connection, catalog.require(connection, tenant, collection), after, page_size + 1
            )
        )
        more = len(rows) > page_size
        rows = rows[:page_size]
        return rows, token_after("documents", rows[-1].document_id) if more else ""

    @override
    async def delete_documents(
        self, tenant: str, collection: str, document_ids: Sequence[str]
    ) -> list[str]:
        return await self._opened.write(
            lambda connection: documents.delete(
                connection,
                catalog.require(connection, tenant, collection),
                document_ids,
                self._approximate_from,
            )
        )

    @override
    async def get_collection(self, tenant: str, name: str) -> Collection | None:
        scope = await self._opened.read(lambda connection: catalog.find(connection, tenant, name))
        return scope.collection if scope else None

    @override
    async def list_collections(
        self, tenant: str, page_size: int, page_token: str = ""
    ) -> tuple[list[Collection], str]:
        check_page_size(page_size)
        after = key_before("collections", page_token)
        rows = await self._opened.read(
            lambda connection: catalog.page(connection, tenant, after, page_size + 1)
        )
        more = len(rows) > page_size
        rows = rows[:page_size]
        return rows, token_after("collections", rows[-1].name) if more else ""

    @override
    async def delete_collection(self, tenant: str, name: str) -> bool:
        def delete(connection: apsw.Connection) -> bool:
            scope = catalog.find(connection, tenant, name)
            if scope is not None:
                catalog.remove(connection, scope)
            return scope is not None

        return await self._opened.write(delete)

    @override
    async def promote_collection(self, tenant: str, name: str) -> bool:
        return await self._opened.write(
            lambda connection: catalog.promote(
                connection,
                catalog.require(connection, tenant, name),
                catalog.require(connection, tenant, staged(name)),
            )
        )

    @override
    async def search(self, tenant: str, collection: str, query: SearchQuery) -> list[Hit]:
        return await self._opened.read(
            lambda connection: search(
                connection,
                catalog.require(connection, tenant, collection),
                query,
                self._approximate_from,
                self._pieces,
            )
        )

    @property
    def _opened(self) -> Database:
        if self._database is None:
            raise StoreUnavailableError("The store is not open.")
        return self._database
