"""Several processes on one SQLite file, and processes that die."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from query.store import SearchMode, SearchQuery, Store, open_store

ROOT = Path(__file__).parents[4]
WRITER = Path(__file__).with_name("writer_process.py")
WORKER = Path(__file__).with_name("worker_process.py")
PROCESSES = 8
CHUNKS = 5


async def start_writer(url: str, prefix: str, count: int, at_once: int) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(WRITER),
        url,
        prefix,
        str(count),
        str(at_once),
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


@pytest.mark.parametrize(
    ("acknowledged", "at_once"), [(1, 1), (6, 1), (17, 1), (40, 1), (1, 16), (9, 16), (40, 16)]
)
async def test_kill_9_loses_no_acknowledged_document_and_leaves_none_half(
    tmp_path: Path, acknowledged: int, at_once: int
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    writer = await start_writer(url, "d", 1_000_000, at_once)
    assert writer.stdout is not None
    names = [(await writer.stdout.readline()).decode().strip() for _ in range(acknowledged)]
    writer.kill()
    rest, _ = await writer.communicate()
    names += [line.decode() for line in rest.split(b"\n")[:-1]]
    async with open_store(url) as store:
        found = await whole_documents(store)
    assert set(names) <= found
    assert len(found - set(names)) <= at_once  # those whose acknowledgement was not heard


async def test_processes_that_create_and_write_one_file_at_once_lose_nothing(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    writers = [await start_writer(url, prefix, 20, 4) for prefix in "abc"]
    outputs = await asyncio.gather(*(writer.communicate() for writer in writers))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    names = {line.decode() for out, _ in outputs for line in out.splitlines()}
    async with open_store(url) as store:
        assert await whole_documents(store) == names


async def work(url: str, prefix: str, changes: int, seconds: float) -> tuple[dict[str, str], str]:
    """Run a worker for so many changes and seconds; what it left of each document, and errors."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), url, prefix,
        stdin=PIPE, stdout=PIPE, stderr=PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None
    begun = time.monotonic()
    left: dict[str, str] = {}
    ending = False
    while line := (await worker.stdout.readline()).decode():
        name, version = line.split()
        left[name] = version
        changes -= 1
        if not ending and changes <= 0 and time.monotonic() - begun >= seconds:
            worker.stdin.close()
            ending = True
    _, errors = await worker.communicate()
    assert worker.returncode == 0, errors.decode()
    return left, errors.decode()


@pytest.mark.parametrize(
    ("parameters", "changes", "seconds"),
    [
        ("", 15, 0.0),
        ("?approximate_from=1", 15, 0.0),
        pytest.param("", 100, 60.0, marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
async def test_processes_that_write_delete_and_search_at_once_see_and_leave_whole_documents(
    tmp_path: Path, parameters: str, changes: int, seconds: float
) -> None:
    url = f"sqlite:///{tmp_path}/store.db{parameters}"
    results = await asyncio.gather(
        *(work(url, f"p{number}-", changes, seconds) for number in range(PROCESSES))
    )
    assert {error for _, errors in results for error in errors.split()} <= {"StoreUnavailableError"}
    expected = {
        name: f"h{version}"
        for left, _ in results
        for name, version in left.items()
        if version != "deleted"
    }
    async with open_store(url) as store:
        listed, _ = await store.list_documents("t", "c", 1000)
        assert {each.document_id: each.content_hash for each in listed} == expected
        collection = await store.get_collection("t", "c")
        hits = await store.search("t", "c", SearchQuery(SearchMode.FULL_TEXT, 1000, None, "word"))
    assert collection is not None
    assert collection.document_count == len(expected)
    assert collection.chunk_count == len(hits) == sum(each.chunk_count for each in listed)
