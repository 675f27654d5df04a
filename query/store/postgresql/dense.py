"""The nearest vectors of one collection: exact, or by its index where that proved good."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

from collections.abc import Sequence
from dataclasses import dataclass

from asyncpg import Record

from query.store.postgresql import vector_index
from query.store.postgresql.catalog import Scope
from query.store.postgresql.connection import Connection
from query.store.postgresql.filters import Restriction
from query.store.postgresql.places import PLACE, Places, at_places
from query.store.postgresql.ranking import Ranking
from query.store.postgresql.vectors import score


@dataclass(frozen=True, slots=True)
class Nearest:
    """Looks for what is near to one vector of length one."""

    connection: Connection
    scope: Scope
    vector: bytes

    async def rank(
        self, documents: Restriction | None, count: int, threshold: float | None
    ) -> Ranking:
        """The `count` nearest that reach the threshold, and all that equal the last of them."""
        rows = await self._indexed(documents, count)
        if len(rows) < count:
            rows = await self._exact(documents, count)
        ranking = Ranking.of([(row["place"], score(row["negative"])) for row in rows])
        if threshold is not None:
            ranking = ranking[: int((ranking.scores >= threshold).sum())]
        return ranking.best(count)

    async def cosines(self, places: Places) -> dict[int, float]:
        """The cosine similarity of the chunks at these places."""
        if not len(places):
            return {}
        rows = await self.connection.fetch(
            f"SELECT place, vector <#> $3 AS negative FROM {at_places('vectors', 2)}",
            *(self.scope.id, places.tolist(), self.vector),
        )
        return {row["place"]: score(row["negative"]) for row in rows}

    async def _indexed(self, documents: Restriction | None, count: int) -> Sequence[Record]:
        """What the index finds: nothing where there is none, or where it is not the better way."""
        ef_search = self.scope.ef_search
        if ef_search is None or (documents and not await self._worth_it(documents, count)):
            return ()
        return await vector_index.nearest(
            *(self.connection, self.scope.id, self.vector, documents),
            count=count,
            ef_search=ef_search,
        )

    async def _worth_it(self, documents: Restriction, count: int) -> bool:
        enough = vector_index.worth_from(self.scope.collection.chunk_count, count)
        # The limit, on documents of a chunk or more, ends the count as soon as it has enough.
        fitting = await self.connection.fetchval(
            "SELECT coalesce(sum(chunk_count), 0) FROM (SELECT chunk_count FROM"
            " (SELECT *, id AS document FROM documents WHERE chunk_count > 0) AS documents"
            f" WHERE collection = $1 AND {documents.as_set}"
            f" LIMIT ${len(documents.values) + 1}) AS fitting",
            *(*documents.values, enough),
        )
        return int(fitting) >= enough

    async def _exact(self, documents: Restriction | None, count: int) -> Sequence[Record]:
        """The nearest of all; one more than wanted shows whether the last place is shared.

        Then all that share it are fetched, so that the chunk id can decide who gets it.
        """
        values = documents.values if documents else (self.scope.id,)
        fitting = f"AND {documents.as_set}" if documents else ""
        limit = count + 1
        while True:
            rows = await self.connection.fetch(
                f"SELECT {PLACE} AS place, vector <#> ${len(values) + 1} AS negative FROM vectors"
                f" WHERE collection = $1 {fitting} ORDER BY negative LIMIT ${len(values) + 2}",
                *(*values, self.vector, limit),
            )
            if len(rows) < limit or rows[-1]["negative"] != rows[count - 1]["negative"]:
                return rows
            limit *= 4
