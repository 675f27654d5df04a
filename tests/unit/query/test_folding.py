from query.folding import folded, merged
from tests.unit.query.passages import names, passage


def test_one_list_keeps_its_scores() -> None:
    passages = [passage("a", score=9.0), passage("b", score=2.0)]
    assert merged([passages]) == passages


def test_several_lists_are_merged_by_rank_whatever_their_scores() -> None:
    found = merged(
        [
            [passage("a", score=0.9), passage("b", score=0.8)],
            [passage("c", score=40.0), passage("d", score=30.0)],
        ]
    )
    assert names(found) == ["a", "c", "b", "d"]
    assert [each.hit.score for each in found] == [1 / 61, 1 / 61, 1 / 62, 1 / 62]


def test_equal_ranks_are_ordered_by_dense_score_then_collection() -> None:
    found = merged(
        [
            [passage("a", collection="y", dense_score=0.5)],
            [passage("b", collection="x", dense_score=0.5)],
            [passage("c", collection="z", dense_score=0.6)],
        ]
    )
    assert names(found) == ["c", "b", "a"]


def test_an_empty_list_takes_no_place() -> None:
    assert names(merged([[], [passage("a")]])) == ["a"]


def test_the_same_text_stands_once_in_its_best_place() -> None:
    found = folded([passage("a", "One."), passage("b", "Two."), passage("c", "One.")])
    assert names(found) == ["a", "b"]


def test_the_same_text_of_two_collections_is_the_same_text() -> None:
    found = folded([passage("a", "One.", collection="x"), passage("a", "One.", collection="y")])
    assert [each.collection for each in found] == ["x"]


def test_spaces_and_line_breaks_make_no_other_text() -> None:
    assert len(folded([passage("a", "One  two.\n"), passage("b", "One\ntwo.")])) == 1


def test_other_words_or_letters_do() -> None:
    assert len(folded([passage("a", "One."), passage("b", "one."), passage("c", "One")])) == 3
