"""Processes that write to one store, and what must be there after them."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from query.store import SearchMode, SearchQuery, Store, open_store

CHUNKS = 5

_ROOT = Path(__file__).parents[4]
_WRITER = Path(__file__).with_name("writer_process.py")
_WORKER = Path(__file__).with_name("worker_process.py")


async def start_writer(url: str, prefix: str, count: int) -> Process:
    """Start a process that writes so many documents and prints each id once acknowledged."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(_WRITER), url, prefix, str(count)),
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
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


async def work(url: str, prefix: str, changes: int, seconds: float) -> tuple[dict[str, str], str]:
    """Run a worker for so many changes and seconds; what it left of each document, and errors."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_WORKER), url, prefix),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
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


async def assert_left(url: str, results: list[dict[str, str]]) -> None:
    """Check that the store holds what the workers left, all of it and nothing else."""
    expected = {
        name: f"h{version}"
        for left in results
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
