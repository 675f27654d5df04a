"""Bulk indexing on Ray: real clusters whose workers are killed, and the same store as without."""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from query.store import SearchMode, SearchQuery, open_store
from tests.system.asking import UPSTREAM_MODELS, base_urls
from tests.system.cluster import Cluster, free_ports
from tests.system.program import ROOT, Program
from tests.system.ray_processes import (
    descendants,
    files_with,
    is_alive,
    is_loopback,
    kill,
    listening,
    names_in,
    workers,
)
from tests.upstream.behaviours import Answer
from tests.upstream.formats import NATIVE_DIMENSIONS
from tests.upstream.server import UpstreamServer

TENANT = "default"
KEY = "sk-canary-that-no-file-of-ray-may-hold"
TOKEN = "0123456789abcdef" * 4
DEATHS = 10
_SECONDS = 110.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def write_documents(folder: Path, count: int) -> None:
    """So many documents of a few passages, and one that can't be read."""
    folder.mkdir()
    for number in range(count):
        parts = "\n\n".join(
            f"## Part {part}\n\n"
            + " ".join(f"River {number}.{part}.{line} flows to the sea." for line in range(6))
            for part in range(1 + number % 3)
        )
        name = f"town-{number:03}.md"
        (folder / name).write_text(f"# Town {number}\n\n{parts}\n", encoding="utf-8")
    (folder / "page.html").write_text("<h1>A page</h1><p>Of a town.</p>", encoding="utf-8")
    (folder / "empty.md").write_bytes(b"")


@asynccontextmanager
async def services(folder: Path, store: str, upstream: UpstreamServer) -> AsyncIterator[Cluster]:
    """An embedding service that takes its time, and a query service for the plain runs."""
    upstream.default = Answer(delay=0.1)
    environ = {**UPSTREAM_MODELS, "CASCADA_STORE": store, "OPENAI_API_KEY": KEY}
    async with Cluster(folder, environ) as cluster:
        await cluster.serve("embedding", base_urls(upstream))
        await cluster.serve("query")
        yield cluster


async def start(
    cluster: Cluster, collection: str, *arguments: str, environ: Mapping[str, str]
) -> Program:
    """Start `cascada index` over the folder of documents."""
    own = {
        "CASCADA_EMBEDDING_TARGET": cluster.target("embedding"),
        "CASCADA_LOG_LEVEL": "error",
    }
    return await cluster.start(
        *("-m", "cli", "index", "documents", "-c", collection, "--json", *arguments),
        environ={**own, **environ},
    )


async def result_of(program: Program) -> dict[str, Any]:
    """What the command says at its end; one document can't be read."""
    async with asyncio.timeout(_SECONDS):
        code = await program.process.wait()
    assert code == 1, program.text
    result: dict[str, Any] = json.loads(program.out.read_text(encoding="utf-8"))
    assert program.log.read_text(encoding="utf-8") == ""
    return result


async def plain_result(cluster: Cluster) -> dict[str, Any]:
    """What comes of it without Ray."""
    target = ("--target", cluster.target("query"))
    return await result_of(await start(cluster, "plain", *target, environ={}))


async def stored(url: str, collection: str) -> tuple[dict[str, Any], dict[str, float]]:
    """Each document with its passages, and how near each passage is to some vector."""
    async with open_store(url) as store:
        documents = {}
        token = ""
        while True:
            page, token = await store.list_documents(TENANT, collection, 1000, token)
            for document in page:
                chunks = await store.get_chunks(TENANT, collection, document.document_id)
                documents[document.document_id] = (document, chunks)
            if not token:
                break
        query = SearchQuery(
            SearchMode.DENSE, 1000, vector=bytes(range(1, 1 + 4 * NATIVE_DIMENSIONS))
        )
        hits = await store.search(TENANT, collection, query)
        found = await store.get_collection(TENANT, collection)
        assert found is not None
        assert found.document_count == len(documents)
        assert found.chunk_count == len(hits) == sum(len(each) for _, each in documents.values())
    return documents, {hit.chunk_id: hit.dense_score or 0.0 for hit in hits}


async def check_same(url: str, collection: str) -> None:
    """Nothing is lost, nothing twice, and every passage and vector is as without Ray."""
    documents, near = await stored(url, collection)
    expected, expected_near = await stored(url, "plain")
    assert documents == expected
    assert near == expected_near


async def count_of(url: str, collection: str) -> int:
    async with open_store(url) as store:
        found = await store.get_collection(TENANT, collection)
        return found.document_count if found else 0


async def test_a_run_on_ray_whose_worker_dies_leaves_the_same_as_one_without(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    write_documents(tmp_path / "documents", 100)
    store = f"sqlite:///{tmp_path}/store.db"
    # Ray's sockets have names of limited length: its folder can't be one of the test's.
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as short:
        async with services(tmp_path, store, upstream) as cluster:
            expected = await plain_result(cluster)
            program = await start(cluster, "ray", "--engine", "ray", environ={"TMPDIR": short})
            root = program.process.pid
            async with asyncio.timeout(_SECONDS):
                while not await count_of(store, "ray"):
                    assert program.process.returncode is None, program.text
                    await asyncio.sleep(0.02)
            victim, *_ = workers(root)
            kill(victim)
            started = descendants(root)
            addresses = listening(root)
            leaks = files_with(Path(short), KEY)
            result = await result_of(program)
        assert not any(map(is_alive, started))
        assert names_in(Path(short)) == set()
    assert leaks == []
    assert addresses
    assert all(map(is_loopback, addresses)), addresses
    assert ".ray" not in names_in(tmp_path)
    assert result["indexed"] + result["unchanged"] == expected["indexed"] == 101
    assert result["failures"] == expected["failures"]
    assert [failure["document_id"] for failure in result["failures"]] == ["empty.md"]
    hops = result["configuration_trace"]["hops"]
    assert [hop["service"] for hop in hops] == ["query", "embedding"]
    await check_same(store, "ray")


@dataclass(frozen=True)
class Head:
    """A cluster that is there."""

    address: str
    environ: Mapping[str, str]
    """What commands need to be let in."""
    store: str
    folder: Path
    pid: int


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """Ray, as somebody starts it on a machine of a cluster."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as short:
        folder = Path(short)
        [port] = free_ports(1)
        store = f"sqlite:///{folder}/store.db"
        entry = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it keeps to 127.0.0.1
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
        }
        environ = {
            **entry,
            **UPSTREAM_MODELS,
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": short,
            "PYTHONPATH": f"{ROOT}:{ROOT}/generated",
            "CASCADA_STORE": store,
            "OPENAI_API_KEY": KEY,
            "CASCADA_LOG_LEVEL": "error",
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                    *("--num-cpus", "2", "--include-dashboard", "false", "--port", str(port)),
                    *("--object-store-memory", "100000000", "--temp-dir", f"{short}/ray"),
                    *("--disable-usage-stats", "--min-worker-port", "0"),
                    *("--max-worker-port", "0"),
                ],
                env=environ,
                cwd=short,
                stdout=log,
                stderr=log,
            )
        try:
            yield Head(f"127.0.0.1:{port}", entry, store, folder, process.pid)
        finally:
            below = descendants(process.pid)
            process.terminate()
            process.wait(30)
            for pid in below:
                kill(pid)


@pytest.mark.full
async def test_many_deaths_in_a_cluster_that_is_there_lose_and_double_nothing(
    tmp_path: Path, head: Head, upstream: UpstreamServer
) -> None:
    write_documents(tmp_path / "documents", 400)
    async with services(tmp_path, head.store, upstream) as cluster:
        expected = await plain_result(cluster)
        upstream.default = Answer(delay=0.4)
        at = ("--engine", "ray", "--ray-address", head.address)
        program = await start(cluster, "killed", *at, environ=head.environ)
        deaths = 0
        while program.process.returncode is None and deaths < DEATHS:
            await asyncio.sleep(random.uniform(0.1, 3))  # noqa: S311 # any moment will do
            if alive := workers(head.pid):
                kill(random.choice(alive))  # noqa: S311
                deaths += 1
        result = await result_of(program)
    assert deaths == DEATHS
    assert result["indexed"] + result["unchanged"] == expected["indexed"] == 401
    assert result["failures"] == expected["failures"]
    await check_same(head.store, "killed")
    assert files_with(head.folder / "ray", KEY) == []
    assert workers(head.pid) == []
    assert head.folder.joinpath("ray").exists()  # it is not ours to end


@pytest.mark.full
async def test_workers_with_another_store_are_not_used(
    tmp_path: Path, head: Head, upstream: UpstreamServer
) -> None:
    write_documents(tmp_path / "documents", 3)
    other = f"sqlite:///{tmp_path}/other.db"
    async with services(tmp_path, other, upstream) as cluster:
        at = ("--engine", "ray", "--ray-address", head.address)
        program = await start(cluster, "c", *at, environ=head.environ)
        async with asyncio.timeout(_SECONDS):
            assert await program.process.wait() == 1
    error = json.loads(program.out.read_text(encoding="utf-8"))["error"]
    assert "another CASCADA_STORE than this command" in error["message"]
