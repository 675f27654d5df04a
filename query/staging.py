"""The next version of a collection, built beside the one that serves until it takes its place."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import suppress

from config_core.errors import CollectionNotFoundError, Reason, RemoteError
from config_core.space import EmbeddingSpace
from query.errors import store_errors_for
from query.store import Chunk, Collection, Document, Store, StoredChunk, StoredDocument, staged
from query.store import errors as store_errors

_PAGE = 1000


async def serving(store: Store, tenant: str, name: str) -> Collection:
    """The collection that serves; CollectionNotFoundError, and then nothing is left beside it."""
    async with store_errors_for(name):
        found = await store.get_collection(tenant, name)
        if found is None:
            await store.delete_collection(tenant, staged(name))
    if found is None:
        raise CollectionNotFoundError(name)
    return found


class Staging:
    """One collection of one tenant, on its way into another space.

    Nothing is kept in memory: what a run has built is in the store, where the next one finds it.
    """

    def __init__(
        self, store: Store, tenant: str, collection: str, space: EmbeddingSpace, endpoint: str
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._collection = collection
        self._staged = staged(collection)
        self._space = space
        self._endpoint = endpoint

    async def serving(self) -> Collection:
        """The collection that serves; CollectionNotFoundError."""
        return await serving(self._store, self._tenant, self._collection)

    async def begin(self) -> int:
        """Keep what an earlier run left in this space, drop what it left in any other.

        Gives the number of documents that are there.
        """
        built = await self._built()
        if built is not None and built.space != self._space:
            await self.drop()
            return 0
        return built.document_count if built else 0

    async def differences(self) -> AsyncGenerator[tuple[str, StoredDocument | None], None]:
        """What the serving collection has otherwise, by id; None for what it no longer has."""
        built = aiter(self._documents(self._staged))
        there = await anext(built, None)
        async for document in self._documents(self._collection):
            while there is not None and there.document_id < document.document_id:
                yield there.document_id, None
                there = await anext(built, None)
            if there is not None and there.document_id == document.document_id:
                same = there.content_hash == document.content_hash
                there = await anext(built, None)
                if same:
                    continue
            yield document.document_id, document
        while there is not None:
            yield there.document_id, None
            there = await anext(built, None)

    async def passages(self, document: StoredDocument) -> list[StoredChunk] | None:
        """The passages of this version of a document; None where there is another by now."""
        name, key = self._collection, document.document_id
        async with store_errors_for(name):
            chunks = await self._store.get_chunks(self._tenant, name, key)
            now = await self._store.get_document(self._tenant, name, key)
        same = now is not None and now.content_hash == document.content_hash
        return chunks if same else None

    async def put(
        self, document: StoredDocument, chunks: Iterable[StoredChunk], vectors: Iterable[bytes]
    ) -> bool:
        """Write or replace (True) a document with the vectors of its passages."""
        return await self._put(
            Document(
                document_id=document.document_id,
                title=document.title,
                source=document.source,
                metadata=document.metadata,
                content_hash=document.content_hash,
                chunks=[
                    chunk.with_vector(vector) for chunk, vector in zip(chunks, vectors, strict=True)
                ],
            )
        )

    async def remove(self, document_ids: Sequence[str]) -> int:
        """Take documents out; how many were there."""
        async with store_errors_for(self._collection):
            with suppress(store_errors.CollectionNotFoundError):
                return len(
                    await self._store.delete_documents(self._tenant, self._staged, document_ids)
                )
        return 0

    async def promote(self, vector: bytes) -> bool:
        """Take the serving collection's place; False where the two still differ.

        `vector` is any of the space: where nothing was written, a document that the next round
        takes out again makes the collection.
        """
        built = await self._built()
        if built is None:
            await self._put(_placeholder(vector))
        elif built.space != self._space:
            raise self._taken_over(built.space)
        async with store_errors_for(self._collection):
            with suppress(store_errors.CollectionNotFoundError):
                return await self._store.promote_collection(self._tenant, self._collection)
        return False

    async def drop(self) -> None:
        """Leave nothing beside the serving collection."""
        async with store_errors_for(self._collection):
            await self._store.delete_collection(self._tenant, self._staged)

    async def _built(self) -> Collection | None:
        async with store_errors_for(self._collection):
            return await self._store.get_collection(self._tenant, self._staged)

    async def _put(self, document: Document) -> bool:
        async with store_errors_for(self._collection):
            try:
                return await self._store.put_document(
                    self._tenant, self._staged, self._space, self._endpoint, document
                )
            except store_errors.SpaceMismatchError as error:
                raise self._taken_over(error.expected) from None

    async def _documents(self, name: str) -> AsyncIterator[StoredDocument]:
        token = ""
        while True:
            async with store_errors_for(self._collection):
                try:
                    page, token = await self._store.list_documents(self._tenant, name, _PAGE, token)
                except store_errors.CollectionNotFoundError:
                    if name == self._collection:
                        raise
                    return
            for document in page:
                yield document
            if not token:
                return

    def _taken_over(self, space: EmbeddingSpace) -> RemoteError:
        return RemoteError(
            Reason.EMBEDDING_SPACE_MISMATCH,
            f"Another run reindexes collection {self._collection!r} into [{space}] and has taken "
            f"the place of this one into [{self._space}]: wait for its end, then run this one "
            "again if it is still wanted.",
            metadata={
                "collection": self._collection,
                "collection_space": str(space),
                "requested_space": str(self._space),
            },
        )


def _placeholder(vector: bytes) -> Document:
    chunk = Chunk("placeholder", 0, "", 0, 0, "", vector)
    return Document("placeholder", "", "", {}, "", [chunk])
