"""The SQLite store keeps the contract of every store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from query.store.opening import open_store
from query.store.port import Store
from query.store.testing import StoreContract


class TestSqliteStore(StoreContract):
    parameters = ""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with open_store(f"sqlite:///{tmp_path}/data/store.db{self.parameters}") as opened:
            yield opened

    @pytest.fixture
    async def second(self, tmp_path: Path, store: Store) -> AsyncIterator[Store]:
        del store  # opened first
        async with open_store(f"sqlite:///{tmp_path}/data/store.db{self.parameters}") as opened:
            yield opened


class TestSqliteStoreByCodes(TestSqliteStore):
    """Every collection as if it were large."""

    parameters = "?approximate_from=1"
