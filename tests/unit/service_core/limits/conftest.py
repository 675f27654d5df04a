from collections.abc import Iterator

import pytest

from tests.servers.valkey import ValkeyServer


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """Give a server that all tests of a session share; each has tenants of its own."""
    with ValkeyServer() as server:
        yield server
