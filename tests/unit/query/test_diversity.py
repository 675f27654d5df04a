from collections.abc import Sequence

import pytest

from config_core.space import EmbeddingSpace
from query.diversity import diverse
from query.retrieval import Found
from tests.unit.query.passages import direction, names, passage
from tests.unit.query.world import E5, OTHER_SPACE

SPACES = {"c": E5, "other": OTHER_SPACE}
TWINS = [
    passage("best", score=1.0, vector=direction(1, 0)),
    passage("twin", score=0.9, vector=direction(1, 0.05)),
    passage("fresh", score=0.5, vector=direction(0, 1)),
    passage("last", score=0.1, vector=direction(1, 1)),
]


def chosen(
    passages: Sequence[Found],
    mmr_lambda: float,
    count: int = 2,
    spaces: dict[str, EmbeddingSpace] | None = None,
) -> list[str]:
    return names(diverse(passages, count, mmr_lambda, spaces or SPACES))


def test_what_repeats_a_chosen_passage_gives_way_to_what_adds_something() -> None:
    assert chosen(TWINS, 0.5) == ["best", "fresh"]


def test_one_weighs_relevance_alone() -> None:
    assert chosen(TWINS, 1.0, 4) == ["best", "twin", "fresh", "last"]


def test_zero_takes_the_best_and_then_what_is_least_like_it() -> None:
    assert chosen(TWINS, 0.0, 2) == ["best", "fresh"]


def test_each_choice_counts_what_was_chosen_before_it() -> None:
    passages = [
        passage("a", score=1.0, vector=direction(1, 0, 0)),
        passage("b", score=0.9, vector=direction(0, 1, 0)),
        passage("like-a", score=0.8, vector=direction(1, 0, 0.1)),
        passage("c", score=0.5, vector=direction(0, 0, 1)),
    ]
    assert chosen(passages, 0.6, 3) == ["a", "b", "c"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_scores_of_any_size_weigh_the_same(scale: float) -> None:
    passages = [
        passage(each.hit.document_id, score=each.hit.score * scale, vector=each.hit.vector)
        for each in TWINS
    ]
    assert chosen(passages, 0.5) == ["best", "fresh"]


def test_passages_of_different_spaces_are_not_compared() -> None:
    passages = [
        passage("a", score=1.0, vector=direction(1, 0)),
        passage("b", score=0.9, vector=direction(1, 0), collection="other"),
        passage("c", score=0.8, vector=direction(0, 1)),
    ]
    assert chosen(passages, 0.3) == ["a", "b"]


def test_collections_of_one_space_are_compared() -> None:
    passages = [
        passage("a", score=1.0, vector=direction(1, 0)),
        passage("b", score=0.9, vector=direction(1, 0), collection="other"),
        passage("c", score=0.8, vector=direction(0, 1)),
    ]
    assert chosen(passages, 0.3, spaces={"c": E5, "other": E5}) == ["a", "c"]


def test_a_model_that_puts_all_texts_within_a_narrow_angle_weighs_the_same() -> None:
    narrow = [
        passage("best", score=1.0, vector=direction(1, 0.3, 0)),
        passage("twin", score=0.9, vector=direction(1, 0.3, 0.01)),
        passage("fresh", score=0.5, vector=direction(1, 0, 0.3)),
        passage("last", score=0.1, vector=direction(1, 0.1, 0.1)),
    ]
    assert chosen(narrow, 0.5) == ["best", "fresh"]


def test_small_differences_of_passages_that_are_all_unlike_weigh_little() -> None:
    unlike = [
        passage("a", score=1.0, vector=direction(1, 0, 0.0, 0)),
        passage("b", score=0.9, vector=direction(0.02, 1, 0.0, 0)),
        passage("c", score=0.5, vector=direction(0.01, 0, 1, 0)),
        passage("d", score=0.1, vector=direction(0.0, 0, 0.0, 1)),
    ]
    assert chosen(unlike, 0.5, 4) == ["a", "b", "c", "d"]


def test_where_all_vectors_are_equal_the_rank_decides() -> None:
    equal = [passage(name, score=s, vector=direction(1, 2)) for name, s in (("a", 2.0), ("b", 1.0))]
    assert chosen(equal, 0.1) == ["a", "b"]


def test_passages_without_vectors_are_chosen_by_rank() -> None:
    passages = [passage(name, score=score) for name, score in (("a", 3.0), ("b", 2.0), ("c", 1.0))]
    assert chosen(passages, 0.2, 3) == ["a", "b", "c"]


def test_equal_scores_keep_their_order() -> None:
    passages = [passage(name, vector=direction(1, 0)) for name in "abc"]
    assert chosen(passages, 0.5, 3) == ["a", "b", "c"]


def test_no_more_come_than_there_are() -> None:
    assert len(chosen(TWINS, 0.5, 9)) == 4
    assert chosen([], 0.5) == []


def test_the_scores_say_the_order_of_the_choice() -> None:
    scores = [each.hit.score for each in diverse(TWINS, 4, 0.5, SPACES)]
    assert scores == [1 / 61, 1 / 62, 1 / 63, 1 / 64]
