"""A filter as a subquery: the keys of the documents of one collection that fit."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

import json
from dataclasses import dataclass

from query.store.model import Condition, Equals, Filter, MetadataValue, Range
from query.store.sqlite.catalog import Scope


@dataclass(frozen=True, slots=True)
class Restriction:
    """SQL that stands behind `document IN`, with the values that it binds."""

    sql: str
    values: tuple[MetadataValue, ...]


def kind_of(value: MetadataValue) -> str:
    """How a metadata value compares: booleans, numbers and texts each among themselves."""
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def restriction(scope: Scope, wanted: Filter) -> Restriction:
    """Translate the filter. Every value is bound; only fixed text becomes SQL."""
    sql = "SELECT id FROM documents WHERE collection = ?"
    values: list[MetadataValue] = [scope.id]
    if wanted.document_ids is not None:
        sql += " AND document_id IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(sorted(wanted.document_ids), ensure_ascii=False))
    for condition in wanted.conditions:
        test, operands = _test(condition)
        sql += (
            " AND id IN (SELECT document FROM attributes"
            f" WHERE collection = ? AND key = ? AND ({test}))"
        )
        values += [scope.id, condition.key, *operands]
    return Restriction(f"({sql})", tuple(values))


def _test(condition: Condition) -> tuple[str, list[MetadataValue]]:
    if isinstance(condition, Range):
        return _range(condition)
    wanted = (condition.value,) if isinstance(condition, Equals) else condition.values
    by_kind: dict[str, list[MetadataValue]] = {}
    for value in wanted:
        by_kind.setdefault(kind_of(value), []).append(value)
    tests = [
        f"kind = '{kind}' AND value IN ({','.join('?' * len(values))})"
        for kind, values in by_kind.items()
    ]
    operands = [value for values in by_kind.values() for value in values]
    return " OR ".join(tests) or "FALSE", operands


def _range(condition: Range) -> tuple[str, list[MetadataValue]]:
    bounds = {">=": condition.gte, ">": condition.gt, "<=": condition.lte, "<": condition.lt}
    given = {sign: bound for sign, bound in bounds.items() if bound is not None}
    return " AND ".join(["kind = 'number'", *(f"value {s} ?" for s in given)]), [*given.values()]
