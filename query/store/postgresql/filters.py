"""A filter as SQL: on the documents that fit, as a set or one by one."""

# ruff: noqa: S608 - every value is bound; only fixed text becomes SQL

from dataclasses import dataclass
from decimal import Decimal

from query.store.model import Condition, Filter, OneOf, Range
from query.store.postgresql.catalog import Place
from query.store.postgresql.comparison import compared, digest
from query.store.postgresql.texts import stored

Value = int | bytes | Decimal | list[str] | list[bytes] | list[Decimal]


@dataclass(frozen=True, slots=True)
class Restriction:
    """A test of a column `document`, with the values it binds: $1, the collection's id, and on."""

    as_set: str
    """For a reader of many rows: the documents that fit are found first, each with all its rows."""
    one_by_one: str
    """For a reader that comes by rows in an order of its own and will stop early."""
    values: tuple[Value, ...]


def restriction(place: Place, wanted: Filter) -> Restriction:
    """Translate the filter. Every value is bound; only fixed text becomes SQL."""
    values: list[Value] = [place.id]
    sources: list[tuple[str, str, str]] = []
    if wanted.document_ids is not None:
        values.append([stored(each) for each in sorted(wanted.document_ids)])
        sources.append(("documents", "id", f"document_id = ANY (${len(values)}::text[])"))
    for condition in wanted.conditions:
        values.append(digest(condition.key))
        test = f"key = ${len(values)}::bytea AND {_test(condition, values)}"
        sources.append(("attributes", "document", test))
    as_set = [
        f"document IN (SELECT {key} FROM {table} WHERE collection = $1 AND {test})"
        for table, key, test in sources
    ]
    # OFFSET keeps the planner from making a set of it after all.
    one_by_one = [
        f"EXISTS (SELECT FROM {table} AS fits WHERE collection = $1"
        f" AND fits.{key} = vectors.document AND {test} OFFSET 0)"
        for table, key, test in sources
    ]
    return Restriction(" AND ".join(as_set), " AND ".join(one_by_one), tuple(values))


def _test(condition: Condition, values: list[Value]) -> str:
    if isinstance(condition, Range):
        return _range(condition, values)
    wanted = condition.values if isinstance(condition, OneOf) else (condition.value,)
    operands = [compared(value) for value in wanted]
    values.append([each for each in operands if isinstance(each, bytes)])
    values.append([each for each in operands if isinstance(each, Decimal)])
    count = len(values)
    return f"(value = ANY (${count - 1}::bytea[]) OR number = ANY (${count}::numeric[]))"


def _range(condition: Range, values: list[Value]) -> str:
    tests = ["number IS NOT NULL"]
    bounds = {">=": condition.gte, ">": condition.gt, "<=": condition.lte, "<": condition.lt}
    for sign, bound in bounds.items():
        if bound is not None:
            values.append(Decimal(bound))
            tests.append(f"number {sign} ${len(values)}::numeric")
    return " AND ".join(tests)
