"""Half an hour at half of what the cluster can do: calls are answered, and nothing grows.

`CASCADA_SOAK_SECONDS` makes it shorter.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Sequence

import pytest

from tests.cluster.calls import ALL, Asking, Call, Outcome, ask, assert_typed, table
from tests.cluster.cluster import Cluster
from tests.cluster.documents import texts
from tests.cluster.nodes import MEMBERS, Node
from tests.cluster.usage import Usage, typical, usage
from tests.system.asking import index

SECONDS = float(os.environ.get("CASCADA_SOAK_SECONDS", "1800"))
WARM_UP_SECONDS = min(60.0, SECONDS / 2)
_FULL_LOAD_SECONDS = 15.0
_AT_ONCE = 32
_LOOK_SECONDS = 5.0

_ANSWERED = 0.99
"""The least share of calls that is answered; the others are refused in a moment of overload."""
_GROWTH = 1.10
"""How much more memory the last quarter may take than the first."""
_SPREAD = 8
"""How much more of anything else: calls come and go."""

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(SECONDS + 600),
    pytest.mark.asyncio(loop_scope="module"),
]


async def test_at_half_load_calls_are_answered_and_nothing_grows(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = await full_rate(cluster) / 2
    looks: dict[Node, list[Usage]] = {node: [] for node in MEMBERS}
    loading = asyncio.create_task(load(cluster, rate, WARM_UP_SECONDS + SECONDS))
    try:
        await asyncio.sleep(WARM_UP_SECONDS)
        while not loading.done():
            for node in MEMBERS:
                looks[node].append(await usage(cluster, node))
            await asyncio.wait([loading], timeout=_LOOK_SECONDS)
    finally:
        loading.cancel()
        await asyncio.wait([loading])
    outcomes = loading.result()
    changes = {node: quarters(found) for node, found in looks.items()}
    with capsys.disabled():
        print(f"\nsoak of {SECONDS:.0f} s at {rate:.1f} calls/s\n{table(outcomes)}")  # noqa: T201 # the figures are for the record
        for node, (first, last) in changes.items():
            print(f"{node!s:20} {first}\n{'':20} {last}")  # noqa: T201
    assert_typed(outcomes)
    answered = sum(outcome.is_ok for outcome in outcomes)
    assert answered >= _ANSWERED * len(outcomes), table(outcomes)
    for node, (first, last) in changes.items():
        grown = f"{node}: {first} -> {last}"
        assert last.resident <= first.resident * _GROWTH, grown
        for name in ("descriptors", "sockets", "threads", "tasks"):
            assert getattr(last, name) <= getattr(first, name) + _SPREAD, grown


async def full_rate(cluster: Cluster) -> float:
    """Calls that are answered a second when many are always under way."""
    async with Asking(cluster, (*ALL, write), _AT_ONCE) as asking:
        await asyncio.sleep(_FULL_LOAD_SECONDS)
    assert_typed(asking.outcomes)
    answered = sum(outcome.is_ok for outcome in asking.outcomes)
    assert answered > len(asking.outcomes) / 2, table(asking.outcomes)
    return answered / _FULL_LOAD_SECONDS


async def load(cluster: Cluster, rate: float, seconds: float) -> list[Outcome]:
    """Make calls at a steady rate, whether or not the ones before have ended."""
    calls: itertools.cycle[Call] = itertools.cycle((*ALL, write))
    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[Outcome]] = []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            tasks.append(group.create_task(ask(cluster, next(calls))))
    return [task.result() for task in tasks]


_writes = itertools.count()


async def write(cluster: Cluster) -> None:
    """Write one of a few documents anew."""
    number = next(_writes)
    text = texts(f"version-{number}", 1).popitem()[1]
    documents = {f"document-{number % 20}": text}
    async for answer in index(cluster.query, documents, "rewritten"):
        assert not answer.result.detail, answer.result


def quarters(looks: Sequence[Usage]) -> tuple[Usage, Usage]:
    """What is typical of the first quarter, and of the last."""
    quarter = max(1, len(looks) // 4)
    return typical(looks[:quarter]), typical(looks[-quarter:])
