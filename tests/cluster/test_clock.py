"""Somebody sets the clocks of some machines while calls run: nobody notices."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cluster.calls import Asking, assert_typed, assert_whole, table
from tests.cluster.clock import Clocks
from tests.cluster.cluster import Cluster
from tests.cluster.nodes import MEMBERS, UPSTREAM, Node
from tests.cluster.running import whole_cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR = 3600
MOVED = (Node("agent-execution"), Node("query"), Node("query", 1), Node("embedding"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clocks(tmp_path_factory: pytest.TempPathFactory) -> Clocks:
    if Clocks.compiler() is None:
        pytest.skip("needs a C compiler (cc), to give a process a clock of its own")
    made = Clocks(tmp_path_factory.mktemp("clocks"))
    await made.make()
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    clocks: Clocks, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    async with whole_cluster(tmp_path_factory.mktemp("cluster"), clocks.environ) as found:
        yield found


async def test_a_clock_that_jumps_costs_no_call(cluster: Cluster, clocks: Clocks) -> None:
    # Few at a time: a busy machine must not look like a fault.
    async with Asking(cluster, at_once=3) as asking:
        await asking.more(10)
        # Certificates are valid from an hour before they are made.
        for seconds in (HOUR, -HOUR // 2):
            for node in MOVED:
                clocks.set(node, seconds)
            await asking.more(30)
    assert all(outcome.is_ok for outcome in asking.outcomes), table(asking.outcomes)
    await cluster.kill(MOVED[1])
    await cluster.restart(MOVED[1])
    await assert_whole(cluster)


async def test_what_was_left_alone_for_a_while_is_tried_again_whatever_the_clock_says(
    cluster: Cluster, clocks: Clocks
) -> None:
    async with Asking(cluster) as asking:
        await asking.more(10)
        await cluster.kill(UPSTREAM)
        await asking.more(30)
        for node in MEMBERS:
            clocks.set(node, -HOUR // 2)
    assert_typed(asking.outcomes)
    await cluster.restart(UPSTREAM)
    await assert_whole(cluster)


async def test_the_processes_follow_their_clocks(cluster: Cluster, clocks: Clocks) -> None:
    def last(node: Node) -> str:
        line = cluster.audit(node).read_text(encoding="utf-8").splitlines()[-1]
        return str(json.loads(line)["timestamp"])

    ahead, behind = MOVED[1], MOVED[2]
    clocks.set(ahead, 2 * HOUR)
    clocks.set(behind, 0)
    await assert_whole(cluster)
    assert last(ahead)[:13] > last(behind)[:13]
