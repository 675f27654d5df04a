"""The same on machines of their own, as far as one kernel can play them, and on a disk that fills.

Each process is in a network namespace, on a cable to a router that drops packets; the store is on a
small disk. Needs root.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.cluster.calls import THROUGH_AGENTS, Asking, assert_typed, assert_whole
from tests.cluster.cluster import Cluster, ports
from tests.cluster.documents import Indexed, index_into, stored, texts
from tests.cluster.namespaces import Namespaces
from tests.cluster.nodes import Node
from tests.cluster.running import make_whole
from tests.cluster.test_partitions import (
    test_a_service_that_nobody_reaches_is_an_error_of_ours,
    test_a_silence_between_the_caller_and_a_process_ends_at_the_deadline,
    test_a_silence_between_two_processes_costs_no_more_than_an_error_of_ours,
    test_calls_go_round_a_silence_that_stays,
)

__all__ = [
    "test_a_service_that_nobody_reaches_is_an_error_of_ours",
    "test_a_silence_between_the_caller_and_a_process_ends_at_the_deadline",
    "test_a_silence_between_two_processes_costs_no_more_than_an_error_of_ours",
    "test_calls_go_round_a_silence_that_stays",
]

pytestmark = [pytest.mark.full, pytest.mark.asyncio(loop_scope="module")]

DISK_BYTES = 16 * 1024 * 1024
BALLAST_BYTES = 6 * 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network() -> AsyncIterator[Namespaces]:
    reason = await Namespaces.why_not()
    if reason is not None:
        pytest.skip(reason)
    async with Namespaces() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    network: Namespaces, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("machines")
    found = Cluster(folder, network, ports())
    async with small_disk(found.data), found:
        await make_whole(found)
        yield found


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[None]:
    await asyncio.to_thread(folder.mkdir)
    if await run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)):
        pytest.skip("needs the right to mount a small disk (root)")
    try:
        yield
    finally:
        assert await run("umount", str(folder)) == 0


async def run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command)
    return await process.wait()


async def test_a_machine_whose_cable_is_pulled_is_left_out_until_it_is_back(
    cluster: Cluster, network: Namespaces
) -> None:
    away = [Node("query", 2), Node("embedding", 1)]
    async with Asking(cluster, THROUGH_AGENTS) as asking:
        await asking.more(10)
        for node in away:
            await network.unplug(node)
        await asking.more(40)
    assert_typed(asking.outcomes)
    await assert_whole(cluster, missing=away)
    for node in away:
        await network.plug_in(node)
    await assert_whole(cluster)


async def test_a_full_disk_is_an_error_of_ours_and_indexing_goes_on_when_there_is_room(
    cluster: Cluster,
) -> None:
    ballast = cluster.data / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    indexed = Indexed()
    documents = texts("full", 4000)
    for name, text in documents.items():
        await index_into(cluster, "filled", {name: text}, indexed)
        if len(indexed.failed) > 5:
            break
    else:
        pytest.fail("the disk did not fill")
    assert set(indexed.failed) == {"UPSTREAM_FAILED"}
    assert indexed.acknowledged
    assert await stored(cluster, "filled", indexed.acknowledged) == indexed.acknowledged
    await assert_whole(cluster)
    processes = {node: program.process.pid for node, program in cluster.programs.items()}

    ballast.unlink()
    later = Indexed()
    few = dict(list(documents.items())[: len(indexed.acknowledged) + 5])
    await index_into(cluster, "filled", few, later)
    assert not later.failed
    assert await stored(cluster, "filled", few) == later.acknowledged
    assert later.acknowledged.items() >= indexed.acknowledged.items()
    assert processes == {node: program.process.pid for node, program in cluster.programs.items()}
