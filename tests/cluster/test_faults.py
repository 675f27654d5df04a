"""A process ends or freezes: calls end in time, and the cluster is whole again by itself."""

import signal

import pytest

from tests.cluster.calls import ALL, THROUGH_AGENTS, Asking, assert_typed, assert_whole
from tests.cluster.cluster import Cluster
from tests.cluster.nodes import UPSTREAM, Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT, QUERY, EMBEDDING = Node("agent-execution", 1), Node("query", 1), Node("embedding", 1)


@pytest.mark.parametrize("node", [QUERY, EMBEDDING], ids=str)
async def test_a_killed_process_costs_its_callers_no_more_than_an_error_of_ours(
    cluster: Cluster, node: Node
) -> None:
    async with Asking(cluster, THROUGH_AGENTS) as asking:
        await asking.more(10)
        await cluster.kill(node)
        await asking.more(30)
    assert_typed(asking.outcomes)
    await assert_whole(cluster, missing=[node])
    await cluster.restart(node)
    await assert_whole(cluster)


async def test_who_calls_a_killed_process_is_told_that_it_is_away(cluster: Cluster) -> None:
    async with Asking(cluster, ALL) as asking:
        await asking.more(10)
        await cluster.kill(AGENT)
        await asking.more(30)
    assert_typed(asking.outcomes, edge=["UNAVAILABLE"])
    await assert_whole(cluster, missing=[AGENT])
    await cluster.restart(AGENT)
    await assert_whole(cluster)


async def test_frozen_processes_hold_calls_no_longer_than_their_deadline_and_are_left_out(
    cluster: Cluster,
) -> None:
    frozen = [QUERY, EMBEDDING]
    async with Asking(cluster, THROUGH_AGENTS) as asking:
        await asking.more(10)
        for node in frozen:
            cluster.signal(node, signal.SIGSTOP)
        await asking.more(30)
    assert_typed(asking.outcomes)
    assert any(outcome.reason == "BUDGET_SPENT" for outcome in asking.outcomes)
    await assert_whole(cluster, missing=frozen)
    for node in frozen:
        cluster.signal(node, signal.SIGCONT)
    await assert_whole(cluster)


async def test_a_process_that_was_frozen_under_the_tests_own_calls_answers_again(
    cluster: Cluster,
) -> None:
    async with Asking(cluster, ALL) as asking:
        await asking.more(10)
        cluster.signal(AGENT, signal.SIGSTOP)
        await asking.more(20)
        cluster.signal(AGENT, signal.SIGCONT)
    assert_typed(asking.outcomes, edge=["DEADLINE_EXCEEDED", "UNAVAILABLE"])
    await assert_whole(cluster)


async def test_a_provider_that_vanishes_is_an_error_of_ours_until_it_is_back(
    cluster: Cluster,
) -> None:
    async with Asking(cluster, THROUGH_AGENTS) as asking:
        await asking.more(10)
        await cluster.kill(UPSTREAM)
        await asking.more(30)
    assert_typed(asking.outcomes)
    assert any(outcome.reason == "UPSTREAM_FAILED" for outcome in asking.outcomes)
    await cluster.restart(UPSTREAM)
    await assert_whole(cluster)
