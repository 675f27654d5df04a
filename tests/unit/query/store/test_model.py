"""What the store's nouns refuse."""

from dataclasses import replace

import pytest

from query.store import Equals, Filter, MetadataValue, OneOf, Range, SearchMode, SearchQuery
from query.store.testing import document


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63])
def test_a_number_that_no_store_can_keep_is_refused(value: MetadataValue) -> None:
    with pytest.raises(ValueError, match="metadata 'k'"):
        document("d", metadata={"k": value})
    with pytest.raises(ValueError, match="metadata 'k'"):
        Equals("k", value)


@pytest.mark.parametrize("name", ["", "x" * 513])
def test_a_document_id_of_a_wrong_length_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="512"):
        document(name)


def test_two_chunks_of_one_id_are_refused() -> None:
    single = document("d")
    with pytest.raises(ValueError, match="same id"):
        replace(single, chunks=[*single.chunks, *single.chunks])


@pytest.mark.parametrize("mode", list(SearchMode))
def test_a_search_needs_what_its_mode_compares(mode: SearchMode) -> None:
    with pytest.raises(ValueError, match="needs a"):
        SearchQuery(mode, 10)


@pytest.mark.parametrize("top_k", [0, -1, 1001])
def test_top_k_is_bounded(top_k: int) -> None:
    with pytest.raises(ValueError, match="top_k"):
        SearchQuery(SearchMode.DENSE, top_k, b"vector")


def test_a_filter_is_bounded() -> None:
    with pytest.raises(ValueError, match="16"):
        Filter(None, (Range("k"),) * 17)
    with pytest.raises(ValueError, match="1000"):
        OneOf("k", tuple(range(1001)))


def test_a_filter_without_documents_is_a_filter() -> None:
    assert Filter(frozenset())
    assert not Filter()
