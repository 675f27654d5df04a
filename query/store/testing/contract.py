"""The contract of a store: every adapter's test class inherits `StoreContract`."""

import pytest

from query.store.port import Store
from query.store.testing.searching import SearchContract
from query.store.testing.writing import WritingContract


class StoreContract(WritingContract, SearchContract):
    """All that a store promises. An adapter's tests say which stores to try it on."""

    @pytest.fixture
    def store(self) -> Store:
        """An open store with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def second(self) -> Store:
        """Another open adapter on what `store` holds."""
        raise NotImplementedError
