"""What the store's nouns refuse."""

from dataclasses import replace

import numpy as np
import pytest

from query.store import Equals, Filter, MetadataValue, OneOf, Range, SearchMode, SearchQuery
from query.store.fusion import fuse
from query.store.model import check_name, staged
from query.store.testing import document
from query.store.vector import normalised


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


def test_a_threshold_needs_a_vector() -> None:
    with pytest.raises(ValueError, match="threshold needs a vector"):
        SearchQuery(SearchMode.FULL_TEXT, 10, text="words", threshold=0.5)


def test_a_staged_name_may_be_as_long_as_the_name_it_is_to_take() -> None:
    check_name(staged("x" * 128))
    for name in ("", "x" * 129, staged(""), staged("x" * 129)):
        with pytest.raises(ValueError, match="128"):
            check_name(name)


@pytest.mark.parametrize("vector", [b"", bytes(64), b"\x00\x00\x80\x7f" * 16, b"\x01" * 63])
def test_a_vector_without_a_direction_or_of_another_length_is_refused(vector: bytes) -> None:
    with pytest.raises(ValueError, match="vector"):
        normalised(vector, 16)


def test_vectors_of_any_length_become_those_of_length_one() -> None:
    values = np.array([3e-30, 0, -4e-30, 0], "<f4")
    assert np.frombuffer(normalised(values.tobytes(), 4), "<f4") == pytest.approx([0.6, 0, -0.8, 0])


def test_fusion_adds_up_what_each_rank_is_worth() -> None:
    assert fuse(["a", "b"], ["b", "c"]) == pytest.approx(
        {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62}
    )
