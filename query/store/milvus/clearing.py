"""What nobody sees any more is deleted: generations given up, and what has died half-way."""

from contextlib import suppress

from query.store.errors import StoreUnavailableError
from query.store.milvus.catalog import Catalog, Entry, Scope
from query.store.milvus.connection import Connection
from query.store.milvus.descriptions import TOUCHED
from query.store.milvus.documents import Documents
from query.store.milvus.journal import UNFINISHED, Journal
from query.store.milvus.keys import any_of, both, equal
from query.store.milvus.tables import CATALOG, DOCUMENTS, Tables


class Clearing:
    """Ends generations, and finishes what processes that died have begun."""

    def __init__(
        self,
        connection: Connection,
        tables: Tables,
        catalog: Catalog,
        journal: Journal,
        documents: Documents,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._catalog = catalog
        self._journal = journal
        self._documents = documents

    async def end(self, scope: Scope, *entries: Entry) -> None:
        """Set what names mean, none of them this generation any more, and delete what it holds.

        Once the names are set it has ended; what cannot be deleted now is deleted later.
        """
        note = await self._journal.begin_end(scope)
        await self._catalog.write(*entries)
        with suppress(StoreUnavailableError):
            await self.delete(scope)
            await self._journal.strike_out([note])

    async def delete(self, scope: Scope) -> None:
        """Delete all that a generation holds that no name means, what says what counts first."""
        table = await self._tables.chunks(scope.space.dimensions)
        own = equal("generation", scope.generation)
        await self._connection.delete(DOCUMENTS, own)
        await self._connection.delete(table.name, both(equal("tenant", scope.tenant), own))
        await self._connection.delete(CATALOG, both(own, any_of("kind", (UNFINISHED, TOUCHED))))

    async def left_behind(self) -> None:
        """Finish what has died; what may still be alive is left alone."""
        for note in await self._journal.left_behind():
            if not await self._catalog.is_alive(note.scope.generation):
                await self.delete(note.scope)
            elif note.document:
                await self._documents.clear_dead(note.scope, [note.document])
            else:
                continue
            await self._journal.strike_out([note])
