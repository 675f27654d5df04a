"""Calls to a Milvus server, off the event loop and each with a deadline."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from query.store.errors import StoreUnavailableError
from query.store.milvus.address import Address
from query.store.milvus.driver import connect, is_not_loaded, load, too_slow, translated

Result = TypeVar("Result")
Row = Mapping[str, Any]

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
WRITE_SECONDS = 30.0
TABLE_SECONDS = 60.0

_THREADS = 16


class Connection:
    """A client with threads of its own. Every method can raise StoreUnavailableError.

    pymilvus' asynchronous client cannot create indexes, and both turn rows into messages at a cost
    that the event loop should not bear.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Connect, unless it is connected."""
        if self._threads is not None:
            return
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-milvus")
        try:
            await self._run(TABLE_SECONDS, load)
            self._client = await self._run(CONNECT_SECONDS, connect, self._address, CONNECT_SECONDS)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let the calls that are on their way end, then disconnect."""
        if self._threads is not None:
            threads, self._threads = self._threads, None
            client, self._client = self._client, None
            await asyncio.to_thread(threads.shutdown)
            if client is not None:
                await asyncio.to_thread(client.close)

    async def on_client(self, seconds: float, work: Callable[[Any], Result]) -> Result:
        """Run `work` with the client in a thread; each of its calls takes `seconds` at most."""
        if self._client is None:
            raise StoreUnavailableError("The store is not open.")
        return await self._run(seconds, work, self._client)

    async def query(
        self,
        table: str,
        expression: str,
        fields: Sequence[str] = (),
        *,
        limit: int | None = None,
        strong: bool = True,
    ) -> list[Row]:
        """The rows that the expression holds for, by primary key; the first `limit` of them.

        Every acknowledged write is seen, unless `strong` is given up for an answer at once.
        """
        options: dict[str, Any] = {"consistency_level": "Strong" if strong else "Eventually"}
        if limit is not None:
            # As the client's iterator asks, so that the rows are the first by primary key.
            options |= {"limit": limit, "iterator": "True", "reduce_stop_for_best": "True"}

        def work(client: Any) -> list[Row]:
            rows = client.query(
                table,
                filter=expression,
                output_fields=["id", *fields],
                timeout=READ_SECONDS,
                **options,
            )
            found: list[Row] = [dict(row) for row in rows]
            return sorted(found, key=lambda row: str(row["id"]))[:limit]

        return await self.on_client(READ_SECONDS, _loaded(table, work))

    async def count(self, table: str, expression: str) -> int:
        """How many rows the expression holds for."""

        def work(client: Any) -> int:
            rows = client.query(
                table,
                filter=expression,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=READ_SECONDS,
            )
            return int(rows[0]["count(*)"])

        return await self.on_client(READ_SECONDS, _loaded(table, work))

    async def rank(
        self,
        table: str,
        target: Sequence[float] | str,
        fields: Sequence[str],
        *,
        offset: int,
        limit: int,
        **options: Any,
    ) -> list[tuple[float, Row]]:
        """Rows by likeness to `target`, best first, each behind the server's score."""

        def work(client: Any) -> list[tuple[float, Row]]:
            (hits,) = client.search(
                table,
                data=[target],
                output_fields=list(fields),
                offset=offset,
                limit=limit,
                consistency_level="Strong",
                timeout=READ_SECONDS,
                **options,
            )
            return [(float(hit["distance"]), {**hit["entity"], "id": hit["id"]}) for hit in hits]

        return await self.on_client(READ_SECONDS, _loaded(table, work))

    async def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows whose keys are not there yet."""
        await self.on_client(
            WRITE_SECONDS,
            lambda client: client.insert(table, list(rows), timeout=WRITE_SECONDS),
        )

    async def upsert(self, table: str, rows: Sequence[Row]) -> None:
        """Write rows in the place of those of the same keys, each as a whole."""
        await self.on_client(
            WRITE_SECONDS,
            lambda client: client.upsert(table, list(rows), timeout=WRITE_SECONDS),
        )

    async def delete(self, table: str, expression: str) -> None:
        """Delete the rows that the expression holds for."""

        def work(client: Any) -> None:
            client.delete(table, filter=expression, timeout=WRITE_SECONDS)

        await self.on_client(WRITE_SECONDS, _loaded(table, work))

    async def _run(self, seconds: float, work: Callable[..., Result], *values: object) -> Result:
        if self._threads is None:
            raise StoreUnavailableError("The store is not open.")
        try:
            # The client repeats what failed while there is time, and the last try ends after it.
            async with asyncio.timeout(2 * seconds + 1):
                return await asyncio.wrap_future(self._threads.submit(translated, work, *values))
        except TimeoutError:
            raise too_slow() from None


def _loaded(table: str, work: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """The same work, done again once the table is in memory where it is not."""

    def attempt(client: Any) -> Result:
        try:
            return work(client)
        except Exception as error:
            if not is_not_loaded(error):
                raise
        client.load_collection(table, timeout=TABLE_SECONDS)
        return work(client)

    return attempt
