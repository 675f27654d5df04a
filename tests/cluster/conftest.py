"""One cluster a module: starting seven processes takes a while."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cluster.cluster import Cluster
from tests.cluster.running import whole_cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Run a cluster for a module's tests; each leaves it as whole as it found it."""
    async with whole_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found
