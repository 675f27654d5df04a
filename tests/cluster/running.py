"""A whole cluster, for a test or a module of tests."""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.calls import assert_whole, index_texts
from tests.cluster.cluster import Cluster, ports
from tests.cluster.loopback import Loopback
from tests.cluster.nodes import Node


def _has_loopback_net() -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.100.0.1", 0))
        except OSError:
            return False
    return True


@asynccontextmanager
async def whole_cluster(
    folder: Path, environ: Callable[[Node], Mapping[str, str]] = lambda _: {}
) -> AsyncIterator[Cluster]:
    """Run a cluster on loopback addresses, with the documents in it."""
    if not _has_loopback_net():
        pytest.skip("needs addresses such as 127.100.0.1, which this system does not have")
    taken = ports()
    async with Loopback(taken) as network, Cluster(folder, network, taken, environ) as found:
        await make_whole(found)
        yield found


async def make_whole(cluster: Cluster) -> None:
    """Start all of it, with the documents in it."""
    await cluster.start()
    await index_texts(cluster)
    await assert_whole(cluster)
