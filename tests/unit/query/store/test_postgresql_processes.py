"""Several processes on one PostgreSQL store, and processes that die."""

import asyncio

import pytest

from query.store import open_store
from tests.unit.query.store.processes import assert_left, start_writer, whole_documents, work

PROCESSES = 8


@pytest.mark.parametrize("acknowledged", [1, 6, 17, 40])
async def test_kill_9_loses_no_acknowledged_document_and_leaves_none_half(
    postgresql_url: str, acknowledged: int
) -> None:
    writer = await start_writer(postgresql_url, "d", 1_000_000)
    assert writer.stdout is not None
    names = [(await writer.stdout.readline()).decode().strip() for _ in range(acknowledged)]
    writer.kill()
    rest, _ = await writer.communicate()
    names += [line.decode() for line in rest.split(b"\n")[:-1]]
    async with open_store(postgresql_url) as store:
        found = await whole_documents(store)
    assert set(names) <= found
    assert len(found - set(names)) <= 1  # the one whose acknowledgement was not heard


async def test_processes_that_make_the_schema_and_write_at_once_lose_nothing(
    postgresql_url: str,
) -> None:
    writers = [await start_writer(postgresql_url, prefix, 20) for prefix in "abc"]
    outputs = await asyncio.gather(*(writer.communicate() for writer in writers))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    names = {line.decode() for out, _ in outputs for line in out.splitlines()}
    async with open_store(postgresql_url) as store:
        assert await whole_documents(store) == names


@pytest.mark.parametrize(
    ("processes", "changes", "seconds"),
    [
        (3, 15, 0.0),
        pytest.param(PROCESSES, 100, 60.0, marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
async def test_processes_that_write_delete_and_search_at_once_see_and_leave_whole_documents(
    postgresql_url: str, processes: int, changes: int, seconds: float
) -> None:
    results = await asyncio.gather(
        *(work(postgresql_url, f"p{number}-", changes, seconds) for number in range(processes))
    )
    assert [errors for _, errors in results] == [""] * processes
    await assert_left(postgresql_url, [left for left, _ in results])
