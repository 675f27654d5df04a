"""The servers that tests of stores share, each started once a session."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.servers.milvus_core import MilvusCoreServer
from tests.servers.milvus_lite import MilvusLiteServer
from tests.servers.postgresql import PostgresqlServer


@pytest.fixture(scope="session")
def milvus_lite() -> Iterator[MilvusLiteServer]:
    """A small Milvus server; each test makes a database of its own in it."""
    with MilvusLiteServer() as server:
        yield server


@pytest.fixture(scope="session")
def milvus_core() -> Iterator[MilvusCoreServer]:
    """The real core of Milvus, without full text; its tables stay from test to test."""
    with MilvusCoreServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server with pgvector, which no test may stop."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture
async def postgresql_url(postgresql: PostgresqlServer) -> AsyncIterator[str]:
    """The URL of an empty database of the test's own."""
    name = await postgresql.create_database()
    yield postgresql.url(name)
    await postgresql.drop_database(name)
