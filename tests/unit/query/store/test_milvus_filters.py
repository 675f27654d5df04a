"""A filter decides exactly, and what narrows the search in its stead never loses what fits."""

import re
from collections.abc import Mapping

import pytest

from query.store.milvus.filters import attributes, expressions, fits
from query.store.model import Condition, Equals, Filter, MetadataValue, OneOf, Range
from query.store.testing.corpus import corpus
from query.store.testing.isolation import INJECTED
from query.store.testing.queries import FILTERS

LARGE = 2**53
VALUES: tuple[MetadataValue, ...] = (
    LARGE, LARGE + 1, LARGE + 2, float(LARGE), -(2**63), 2**63 - 1, 0, 0.0, -0.0, 0.5, 1e300,
    5e-324, True, False, 1, 1.0, "1", "True", "", "a",
)  # fmt: skip


def narrowed(wanted: Filter, document_id: str, metadata: Mapping[str, MetadataValue]) -> bool:
    """What Milvus would say of the expressions, as Python reads them."""
    found = expressions(wanted)
    if found is None:
        return False

    class Missing:
        """What a key gives that is not there: it compares with nothing."""

        def __eq__(self, other: object) -> bool:
            return False

        def __hash__(self) -> int:
            return 0

        def __ge__(self, other: object) -> bool:
            return False

        __le__ = __ge__

    class Attributes(dict[str, object]):
        def __missing__(self, key: str) -> object:
            return Missing()

    names = {
        "attributes": Attributes(attributes(metadata)),
        "document": document_id.encode().hex(),
    }
    return all(eval(each, {"__builtins__": {}}, names) for each in found)  # noqa: S307


def conditions() -> list[Condition]:
    found: list[Condition] = [Equals("k", value) for value in VALUES]
    found += [OneOf("k", (value, "other", 7.5)) for value in VALUES]
    for value in VALUES:
        if not isinstance(value, str | bool):
            found += [Range("k", gte=value), Range("k", gt=value)]
            found += [Range("k", lte=value), Range("k", lt=value), Range("k", gte=value, lt=1e301)]
    return [*found, Range("k"), OneOf("k", ()), Equals("absent", "a")]


@pytest.mark.parametrize(("only", "keep"), FILTERS)
def test_the_filters_of_the_contract_fit_what_they_say(only: Filter, keep: object) -> None:
    assert callable(keep)
    for each in corpus():
        assert fits(only, each.document_id, each.metadata) == keep(each)


def test_the_expression_keeps_whatever_fits() -> None:
    kept = left_out = 0
    for condition in conditions():
        for value in VALUES:
            only = Filter(None, (condition,))
            if fits(only, "d", {"k": value}):
                kept += 1
                assert narrowed(only, "d", {"k": value}), (condition, value)
            else:
                left_out += not narrowed(only, "d", {"k": value})
    assert kept
    assert left_out


def test_whole_numbers_that_are_one_float_differ_all_the_same() -> None:
    assert not fits(Filter(None, (Equals("k", LARGE),)), "d", {"k": LARGE + 1})
    assert not fits(Filter(None, (Range("k", gt=LARGE + 1),)), "d", {"k": LARGE + 1})
    assert fits(Filter(None, (Range("k", gt=LARGE),)), "d", {"k": LARGE + 1})


@pytest.mark.parametrize("text", INJECTED)
def test_no_text_of_a_caller_stands_in_an_expression(text: str) -> None:
    wanted = Filter(
        frozenset({text}), (Equals(text, text), OneOf(text, (text, 1.5)), Range(text, gte=0))
    )
    for each in expressions(wanted) or []:
        assert re.fullmatch(r'[a-z0-9_ ()\[\]"=<>.,e+-]*', each)
        assert not text or len(text) < 9 or text not in each


def test_a_thousand_values_nest_no_deeper_than_a_parser_goes() -> None:
    (found,) = expressions(Filter(None, (OneOf("k", tuple(range(1000))),))) or [""]
    depth = deepest = 0
    for character in found:
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    assert found.count("==") == 1000
    assert deepest <= 10
