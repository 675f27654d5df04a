"""A filter twice: as an expression that Milvus narrows the search with, and exactly.

Each passage carries its document's metadata with hashes in place of keys and texts, and numbers as
64-bit floats. The expression keeps all that fits and perhaps a little more (equal floats can be
different whole numbers); `fits` then decides on the document's own metadata.
"""

import sys
from collections.abc import Mapping, Sequence

from query.store.milvus.keys import any_of, literal, number, ordered_key, short_key
from query.store.model import Condition, Equals, Filter, MetadataValue, OneOf, Range

_LARGEST = sys.float_info.max


def attributes(metadata: Mapping[str, MetadataValue]) -> dict[str, str | float]:
    """The metadata as each passage of the document carries it."""
    found: dict[str, str | float] = {}
    for key, value in metadata.items():
        if _is_number(value):
            found[_number_key(key)] = float(value)
        else:
            found[_exact_key(key)] = _exact_value(value)
    return found


def expressions(wanted: Filter) -> list[str] | None:
    """Expressions that all hold for every passage that fits; None where none can."""
    found: list[str] = []
    if wanted.document_ids is not None:
        if not wanted.document_ids:
            return None
        found.append(any_of("document", sorted(map(ordered_key, wanted.document_ids))))
    for condition in wanted.conditions:
        if isinstance(condition, Range):
            found.append(_range(condition))
        elif tests := [_equality(condition.key, value) for value in _values(condition)]:
            found.append(_either(tests))
        else:
            return None
    return found


def fits(wanted: Filter, document_id: str, metadata: Mapping[str, MetadataValue]) -> bool:
    """Whether the document is one that the filter keeps."""
    if wanted.document_ids is not None and document_id not in wanted.document_ids:
        return False
    return all(
        condition.key in metadata and _holds(condition, metadata[condition.key])
        for condition in wanted.conditions
    )


def _holds(condition: Condition, value: MetadataValue) -> bool:
    if not isinstance(condition, Range):
        return any(_same(value, one) for one in _values(condition))
    if isinstance(value, str | bool):
        return False
    return (
        (condition.gte is None or value >= condition.gte)
        and (condition.gt is None or value > condition.gt)
        and (condition.lte is None or value <= condition.lte)
        and (condition.lt is None or value < condition.lt)
    )


def _same(one: MetadataValue, other: MetadataValue) -> bool:
    """Text, numbers and booleans never equal another."""
    return _is_number(one) == _is_number(other) and (
        one == other if _is_number(one) else (type(one), one) == (type(other), other)
    )


def _values(condition: Equals | OneOf) -> Sequence[MetadataValue]:
    return (condition.value,) if isinstance(condition, Equals) else condition.values


def _range(condition: Range) -> str:
    """The bounds, both included: rounding never takes a number across the other's float."""
    field = f"attributes[{literal(_number_key(condition.key))}]"
    lowest = [float(bound) for bound in (condition.gte, condition.gt) if bound is not None]
    highest = [float(bound) for bound in (condition.lte, condition.lt) if bound is not None]
    return (
        f"({field} >= {number(max(lowest, default=-_LARGEST))}"
        f" and {field} <= {number(min(highest, default=_LARGEST))})"
    )


def _equality(key: str, value: MetadataValue) -> str:
    if isinstance(value, str | bool):
        return f"attributes[{literal(_exact_key(key))}] == {literal(_exact_value(value))}"
    return f"attributes[{literal(_number_key(key))}] == {number(value)}"


def _either(tests: Sequence[str]) -> str:
    """The tests joined by "or", halved again and again: a chain of 1,000 is a deep recursion."""
    if len(tests) == 1:
        return tests[0]
    middle = len(tests) // 2
    return f"({_either(tests[:middle])} or {_either(tests[middle:])})"


def _is_number(value: MetadataValue) -> bool:
    return not isinstance(value, str | bool)


def _number_key(key: str) -> str:
    return f"n{short_key(key)}"


def _exact_key(key: str) -> str:
    return f"e{short_key(key)}"


def _exact_value(value: MetadataValue) -> str:
    return short_key(f"{type(value).__name__}:{value}")
