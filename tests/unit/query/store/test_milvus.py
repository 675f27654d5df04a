"""The Milvus store keeps the contract of every store, on two real servers."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from typing_extensions import override

from query.store.errors import StoreUnavailableError
from query.store.milvus import MilvusStore, catalog
from query.store.milvus.keys import tenant_key
from query.store.model import Hit, SearchMode, SearchQuery
from query.store.opening import open_store
from query.store.port import Store
from query.store.testing import StoreContract, document, fill, hybrid, words
from query.store.testing.isolation import IsolationContract
from query.store.testing.promoting import PromotionContract
from query.store.testing.reading import ReadingContract
from query.store.testing.searching import SearchContract
from query.store.testing.thresholds import ThresholdContract
from query.store.testing.writers import WritersContract
from query.store.testing.writing import WritingContract
from tests.servers.milvus_core import MilvusCoreServer
from tests.servers.milvus_lite import MilvusLiteServer

NO_FULL_TEXT = "Milvus 2.3 has no full text"


class TestMilvusLite(StoreContract):
    """Milvus' protocol with all that the store asks of it, full text too, on a small server."""

    # The server scores, with the statistics of whatever its segments hold.
    bm25_scores = False

    @pytest.fixture
    def url(self, milvus_lite: MilvusLiteServer) -> str:
        return milvus_lite.create_database()

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[Store]:
        async with open_store(url) as opened:
            yield opened

    @pytest.fixture
    async def second(self, url: str, store: Store) -> AsyncIterator[Store]:
        del store  # opened first
        async with open_store(url) as opened:
            yield opened


class DenseOnly(MilvusStore):
    """Ends a test, skipped, where it comes to full text; what it has asserted so far holds."""

    @override
    async def search(self, tenant: str, collection: str, query: SearchQuery) -> list[Hit]:
        if query.mode is not SearchMode.DENSE:
            pytest.skip(NO_FULL_TEXT)
        return await super().search(tenant, collection, query)


class TestMilvusCore(
    WritingContract,
    WritersContract,
    ReadingContract,
    PromotionContract,
    IsolationContract,
    SearchContract,
    ThresholdContract,
):
    """The core of Milvus itself, in the last version that is a package.

    It has no full text: the contract of language is left out, and of the others what needs words.
    """

    bm25_scores = False

    @pytest.fixture(autouse=True)
    def _tenants_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # To make or to clear the tables takes the core longer than most tests do.
        salt = uuid4().hex
        monkeypatch.setattr(catalog, "tenant_key", lambda name: tenant_key(salt + name))

    @pytest.fixture
    async def store(self, milvus_core: MilvusCoreServer) -> AsyncIterator[Store]:
        async with DenseOnly.from_url(milvus_core.url) as opened:
            yield opened

    @pytest.fixture
    async def second(self, milvus_core: MilvusCoreServer, store: Store) -> AsyncIterator[Store]:
        del store  # opened first
        async with DenseOnly.from_url(milvus_core.url) as opened:
            yield opened

    @override
    async def test_crafted_filters_find_what_they_say_and_nothing_else(self, store: Store) -> None:
        pytest.skip(NO_FULL_TEXT)

    async def test_full_text_is_refused_and_says_what_would_help(
        self, milvus_core: MilvusCoreServer
    ) -> None:
        async with open_store(milvus_core.url) as store:
            await fill(store, "t", "c", [document("d")])
            for query in (words("text"), hybrid()):
                with pytest.raises(StoreUnavailableError, match=r"Milvus 2\.5"):
                    await store.search("t", "c", query)
