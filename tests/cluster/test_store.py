"""Documents that were acknowledged stay, whole: while processes are killed, and on a full disk."""

import asyncio
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.cluster.calls import assert_whole
from tests.cluster.cluster import Cluster
from tests.cluster.documents import Indexed, index_into, stored, texts
from tests.cluster.nodes import of

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITERS = 4
"""More than there are query processes: each of them is written to."""
DOCUMENTS = 40
"""Of each writer, for each process that is killed."""

LARGEST_FILE = 1024 * 1024
"""Less than what a store with the documents of these tests takes."""


async def test_nothing_acknowledged_is_lost_while_processes_are_killed(cluster: Cluster) -> None:
    indexed, written = Indexed(), set[str]()

    async def write(documents: Mapping[str, str]) -> None:
        missing = dict(documents)
        while missing:
            await index_into(cluster, "written", missing, indexed)
            missing = {at: text for at, text in missing.items() if at not in indexed.acknowledged}

    for node in (*of("query"), *of("embedding")):
        before = len(indexed.acknowledged)
        batches = [texts(f"{node}-{at}", DOCUMENTS) for at in range(WRITERS)]
        written.update(*batches)
        writing = asyncio.gather(*(write(batch) for batch in batches))
        while (  # noqa: ASYNC110 # nothing tells of it but a look
            len(indexed.acknowledged) < before + WRITERS and not writing.done()
        ):
            await asyncio.sleep(0.002)
        await cluster.kill(node)
        await cluster.restart(node)
        await writing
    assert indexed.failed, "nothing was cut off"
    assert set(indexed.acknowledged) == written
    assert await stored(cluster, "written", written) == indexed.acknowledged
    await assert_whole(cluster)


async def test_a_full_disk_is_an_error_of_ours_and_indexing_goes_on_when_there_is_room(
    cluster: Cluster,
) -> None:
    whole, indexed = Indexed(), Indexed()
    await index_into(cluster, "before", texts("before", 5), whole)
    documents = texts("full", 100)
    with no_room(cluster):
        for name, text in documents.items():
            await index_into(cluster, "filled", {name: text}, indexed)
        assert set(indexed.failed) == {"UPSTREAM_FAILED"}
        assert await stored(cluster, "before", whole.acknowledged) == whole.acknowledged
    processes = {node: program.process.pid for node, program in cluster.programs.items()}
    assert await stored(cluster, "filled", indexed.acknowledged) == indexed.acknowledged
    later = Indexed()
    await index_into(cluster, "filled", documents, later)
    assert not later.failed
    assert later.acknowledged.items() >= indexed.acknowledged.items()
    assert await stored(cluster, "filled", documents) == later.acknowledged
    await assert_whole(cluster)
    assert processes == {node: program.process.pid for node, program in cluster.programs.items()}


@contextmanager
def no_room(cluster: Cluster) -> Iterator[None]:
    """No file of the query processes grows further, as on a full disk."""
    before = {}
    for node in of("query"):
        pid = cluster.programs[node].process.pid
        _, hard = before[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, hard))
    try:
        yield
    finally:
        for pid, limit in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
