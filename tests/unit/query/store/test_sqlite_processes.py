"""Several processes on one SQLite file, and processes that die."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from query.store import SearchMode, SearchQuery, Store, open_store

ROOT = Path(__file__).parents[4]
WRITER = Path(__file__).with_name("writer_process.py")
CHUNKS = 5


async def start_writer(url: str, prefix: str, count: int) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(WRITER),
        url,
        prefix,
        str(count),
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def whole_documents(store: Store) -> set[str]:
    """Every document, after checking that each has all its chunks, vectors and words."""
    documents, _ = await store.list_documents("t", "c", 1000)
    names = {each.document_id for each in documents}
    expected = {f"{name}#{n}" for name in names for n in range(CHUNKS)}
    query = SearchQuery(SearchMode.DENSE, 1000, b"\x00\x00\x80\x3f" * 16)
    assert {hit.chunk_id for hit in await store.search("t", "c", query)} == expected
    query = SearchQuery(SearchMode.FULL_TEXT, 1000, None, "passage")
    assert {hit.chunk_id for hit in await store.search("t", "c", query)} == expected
    collection = await store.get_collection("t", "c")
    assert collection is not None
    counts = (collection.document_count, collection.chunk_count)
    assert counts == (len(names), len(expected))
    return names


@pytest.mark.parametrize("acknowledged", [1, 6, 17, 40])
async def test_kill_9_loses_no_acknowledged_document_and_leaves_none_half(
    tmp_path: Path, acknowledged: int
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    writer = await start_writer(url, "d", 1_000_000)
    assert writer.stdout is not None
    names = [(await writer.stdout.readline()).decode().strip() for _ in range(acknowledged)]
    writer.kill()
    rest, _ = await writer.communicate()
    names += [line.decode() for line in rest.split(b"\n")[:-1]]
    async with open_store(url) as store:
        found = await whole_documents(store)
    assert set(names) <= found
    assert len(found - set(names)) <= 1  # the one whose acknowledgement was not heard


async def test_processes_that_create_and_write_one_file_at_once_lose_nothing(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    writers = [await start_writer(url, prefix, 20) for prefix in "abc"]
    outputs = await asyncio.gather(*(writer.communicate() for writer in writers))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    names = {line.decode() for out, _ in outputs for line in out.splitlines()}
    async with open_store(url) as store:
        assert await whole_documents(store) == names
