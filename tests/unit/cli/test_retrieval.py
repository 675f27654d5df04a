from dataclasses import fields

import pytest
from cascada.common.v1 import retrieval_pb2

from cli.exits import CommandError, ExitCode
from cli.options import Mode
from cli.retrieval import SearchOptions, retrieval

EVERYTHING = SearchOptions(
    top_k=3, threshold=0.0, mode=Mode.FULL_TEXT, mmr=0.0, neighbours=0, rerank=False
)


def test_what_is_absent_stays_absent() -> None:
    passages = retrieval(["a", "b"], SearchOptions())
    assert passages is not None
    assert [field.name for field, _ in passages.ListFields()] == ["collections"]
    assert list(passages.collections) == ["a", "b"]


def test_each_option_arrives_and_zero_is_not_absent() -> None:
    passages = retrieval(["a"], EVERYTHING)
    assert passages is not None
    assert passages == retrieval_pb2.Retrieval(
        collections=["a"],
        top_k=3,
        similarity_threshold=0.0,
        mode=retrieval_pb2.RETRIEVAL_MODE_FULL_TEXT,
        mmr_lambda=0.0,
        neighbours=0,
        rerank=False,
    )
    for name in ("similarity_threshold", "mmr_lambda", "neighbours", "rerank"):
        assert passages.HasField(name), name


def test_no_collection_means_no_retrieval() -> None:
    assert retrieval([], SearchOptions()) is None


@pytest.mark.parametrize("name", [field.name for field in fields(SearchOptions)])
def test_how_to_search_without_where_is_a_usage_error(name: str) -> None:
    how = SearchOptions(**{name: getattr(EVERYTHING, name)})
    with pytest.raises(CommandError, match=f"--{name.replace('_', '-')} .* name a --collection"):
        retrieval([], how)


@pytest.mark.parametrize("name", ["top_k", "neighbours"])
def test_a_number_that_the_contract_has_no_room_for_is_a_usage_error(name: str) -> None:
    with pytest.raises(CommandError, match="out of range") as caught:
        retrieval(["c"], SearchOptions(**{name: 2**31}))  # type: ignore[arg-type]  # numbers both
    assert caught.value.exit_code is ExitCode.USAGE
