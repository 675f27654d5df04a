"""The network between two hops falls silent: calls end in time, and come through again by itself.

Nobody is told of a silence: connections stay, and what is sent is neither taken nor refused.
"""

import pytest

from tests.cluster.calls import THROUGH_AGENTS, Asking, assert_typed, assert_whole
from tests.cluster.cluster import Cluster
from tests.cluster.nodes import CLIENT, UPSTREAM, Node, of

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT, QUERY, EMBEDDING = Node("agent-execution"), Node("query"), Node("embedding")


@pytest.mark.parametrize(
    "cuts",
    [[(AGENT, QUERY), (Node("query", 1), EMBEDDING)], [(QUERY, UPSTREAM), (EMBEDDING, UPSTREAM)]],
    ids=["services", "provider"],
)
async def test_a_silence_between_two_processes_costs_no_more_than_an_error_of_ours(
    cluster: Cluster, cuts: list[tuple[Node, Node]]
) -> None:
    async with Asking(cluster, THROUGH_AGENTS) as asking:
        await asking.more(10)
        for caller, called in cuts:
            await cluster.network.cut(caller, called)
        await asking.more(30)
    assert_typed(asking.outcomes)
    assert not all(outcome.is_ok for outcome in asking.outcomes), "nothing was cut"
    await cluster.network.heal()
    await assert_whole(cluster)


async def test_a_silence_between_the_caller_and_a_process_ends_at_the_deadline(
    cluster: Cluster,
) -> None:
    async with Asking(cluster, THROUGH_AGENTS) as asking:
        await asking.more(10)
        await cluster.network.cut(CLIENT, AGENT)
        await asking.more(20)
    assert_typed(asking.outcomes, edge=["DEADLINE_EXCEEDED", "UNAVAILABLE"])
    await cluster.network.heal()
    await assert_whole(cluster)


@pytest.mark.full
async def test_calls_go_round_a_silence_that_stays(cluster: Cluster) -> None:
    await cluster.network.cut(AGENT, QUERY)
    await cluster.network.cut(Node("query", 1), EMBEDDING)
    await assert_whole(cluster)
    await cluster.network.heal()
    await assert_whole(cluster)


@pytest.mark.full
async def test_a_service_that_nobody_reaches_is_an_error_of_ours(cluster: Cluster) -> None:
    for caller in of("query"):
        for called in of("embedding"):
            await cluster.network.cut(caller, called)
    async with Asking(cluster, THROUGH_AGENTS) as asking:
        await asking.more(20)
    assert_typed(asking.outcomes)
    await cluster.network.heal()
    await assert_whole(cluster)
