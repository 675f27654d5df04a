"""The contract of a store: every adapter's test class inherits `StoreContract`."""

import pytest

from query.store.port import Store
from query.store.testing.isolation import IsolationContract
from query.store.testing.language import LanguageContract
from query.store.testing.promoting import PromotionContract
from query.store.testing.reading import ReadingContract
from query.store.testing.searching import SearchContract
from query.store.testing.thresholds import ThresholdContract
from query.store.testing.writers import WritersContract
from query.store.testing.writing import WritingContract


class StoreContract(
    WritingContract,
    WritersContract,
    ReadingContract,
    PromotionContract,
    IsolationContract,
    SearchContract,
    ThresholdContract,
    LanguageContract,
):
    """All that a store promises; `Guarantees` lists what an adapter may leave out.

    An adapter's tests say which stores to try it on.
    """

    @pytest.fixture
    def store(self) -> Store:
        """An open store with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def second(self) -> Store:
        """Another open adapter on what `store` holds."""
        raise NotImplementedError
