"""The PostgreSQL store keeps the contract of every store, with and without an index of vectors."""

from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from query.store.model import Hit, SearchQuery
from query.store.opening import open_store
from query.store.port import Store
from query.store.postgresql import PostgresqlStore
from query.store.testing import StoreContract
from query.store.testing.promoting import PromotionContract
from query.store.testing.searching import SearchContract
from query.store.testing.thresholds import ThresholdContract
from tests.servers.postgresql import PostgresqlServer

EMPTY = """
    DO $$ DECLARE each text; BEGIN
        FOR each IN SELECT tablename FROM pg_tables
            WHERE schemaname = 'cascada' AND tablename <> 'schema_version'
        LOOP EXECUTE 'DELETE FROM cascada.' || each; END LOOP;
        FOR each IN SELECT relname FROM pg_class WHERE relname LIKE 'vectors_of_%'
        LOOP EXECUTE 'DROP INDEX cascada.' || each; END LOOP;
    END $$
"""


@pytest.fixture(scope="module")
def databases() -> dict[str, str]:
    """The names of the databases of this module, which its tests share."""
    return {}


@pytest.fixture
async def emptied(postgresql: PostgresqlServer, databases: dict[str, str]) -> str:
    """The name of a database without a row; to empty one is quicker than to make one."""
    if "contract" not in databases:
        databases["contract"] = await postgresql.create_database()
    await postgresql.execute(EMPTY, databases["contract"])
    return databases["contract"]


class TestPostgresqlStore(StoreContract):
    @pytest.fixture
    async def store(self, postgresql: PostgresqlServer, emptied: str) -> AsyncIterator[Store]:
        async with open_store(postgresql.url(emptied)) as opened:
            yield opened

    @pytest.fixture
    async def second(
        self, postgresql: PostgresqlServer, emptied: str, store: Store
    ) -> AsyncIterator[Store]:
        del store  # opened first
        async with open_store(postgresql.url(emptied)) as opened:
            yield opened


class Indexed(PostgresqlStore):
    """Has an index of every collection before it searches."""

    @override
    async def search(self, tenant: str, collection: str, query: SearchQuery) -> list[Hit]:
        _, upkeep = self._opened
        for _ in range(2):
            await upkeep._build_due()
        return await super().search(tenant, collection, query)


class TestIndexed(SearchContract, ThresholdContract, PromotionContract):
    @pytest.fixture
    async def store(self, postgresql: PostgresqlServer, emptied: str) -> AsyncIterator[Store]:
        url = postgresql.url(emptied, hnsw_from="1", upkeep_milliseconds="86400000")
        async with Indexed.from_url(url) as opened:
            yield opened

    @pytest.fixture
    async def second(self, store: Store) -> Store:
        return store
