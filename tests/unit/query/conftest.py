"""The query service over a store of the test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from query.store import Store, open_store
from tests.unit.query.world import World


@pytest.fixture
async def store_of_world(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


@pytest.fixture
async def world(tmp_path: Path, store_of_world: Store) -> AsyncIterator[World]:
    world = World(tmp_path, store_of_world)
    yield world
    await world.extractor.aclose()
