"""The Milvus store and its server: away, slow, back again, refusing, and what is said about it."""

import asyncio
import base64
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from query.store import SchemaTooNewError, Store, StoreUnavailableError, open_store
from query.store.milvus import MilvusStore, connection, tables
from query.store.milvus.tables import CATALOG, catalog_row
from query.store.testing import SPACE, dense, document, fill, ids, words
from tests.servers.guarded import free_port
from tests.servers.milvus_lite import MilvusLiteServer

ROOT = Path(__file__).parents[4]


@pytest.fixture
def own_server() -> Iterator[MilvusLiteServer]:
    with MilvusLiteServer() as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_SECONDS", "READ_SECONDS", "WRITE_SECONDS"):
        monkeypatch.setattr(connection, name, 1.0)
    monkeypatch.setattr(tables, "READ_SECONDS", 1.0)


async def until_healthy(store: Store) -> None:
    healthy = False
    while not healthy:
        await asyncio.sleep(0.05)
        healthy = await store.healthy()


async def calls(store: Store) -> list[str]:
    """What each kind of call says when the server is away."""
    said = []
    for call in (
        store.put_document("t", "c", SPACE, "", document("e")),
        store.get_document("t", "c", "d"),
        store.get_chunks("t", "c", "d"),
        store.list_documents("t", "c", 10),
        store.delete_documents("t", "c", ["d"]),
        store.get_collection("t", "c"),
        store.list_collections("t", 10),
        store.delete_collection("t", "c"),
        store.promote_collection("t", "c"),
        store.search("t", "c", dense()),
    ):
        with pytest.raises(StoreUnavailableError) as raised:
            await call
        said.append(str(raised.value))
    return said


@pytest.mark.usefixtures("quick")
async def test_a_server_that_is_away_is_reported_by_every_call_and_found_again(
    own_server: MilvusLiteServer,
) -> None:
    async with open_store(own_server.url) as store:
        await fill(store, "t", "c", [document("d")])
        assert await store.healthy()
        own_server.halt()
        assert not await store.healthy()
        said = await calls(store)
        assert set(said) == {
            "The Milvus server cannot be reached; check its address, and that it runs."
        }
        await asyncio.to_thread(own_server.start)
        await until_healthy(store)
        # The server has the tables no longer in memory; the store has them loaded again.
        assert ids(await store.search("t", "c", dense())) == ["d#0"]
        assert ids(await store.search("t", "c", words("text"))) == ["d#0"]
        await fill(store, "t", "c", [document("e")])
        await store.delete_documents("t", "c", ["d"])
        assert ids(await store.search("t", "c", dense())) == ["e#0"]


@pytest.mark.usefixtures("quick")
async def test_a_server_that_is_silent_is_not_waited_for_for_ever(
    own_server: MilvusLiteServer,
) -> None:
    async with open_store(own_server.url) as store:
        await fill(store, "t", "c", [document("d")])
        own_server.pause()
        try:
            assert not await store.healthy()
            with pytest.raises(StoreUnavailableError, match="did not answer in time"):
                await store.search("t", "c", dense())
        finally:
            own_server.resume()
        await until_healthy(store)
        assert ids(await store.search("t", "c", dense())) == ["d#0"]


@pytest.mark.usefixtures("quick")
async def test_a_store_without_a_server_cannot_be_opened() -> None:
    store = open_store(f"milvus://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        await store.open()
    assert not await store.healthy()
    await store.close()


class Refusing(grpc.GenericRpcHandler):
    """Lets clients connect if it is told so, refuses the rest, and repeats what it was sent."""

    def __init__(self, code: grpc.StatusCode, *, connects: bool) -> None:
        self.code = code
        self.connects = connects

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            if self.connects and details.method.endswith("/Connect"):
                return b""  # no fields: success
            context.abort(self.code, f"canary {details.invocation_metadata} {request!r}")
            raise AssertionError

        return grpc.unary_unary_rpc_method_handler(answer)


OPENING = """
import asyncio, logging
from query.store import StoreUnavailableError, open_store
from query.store.milvus import connection
logging.basicConfig(level=logging.DEBUG)
connection.CONNECT_SECONDS = connection.READ_SECONDS = 0.5
async def main():
    try:
        await open_store({url!r}).open()
    except StoreUnavailableError as error:
        print(error)
asyncio.run(main())
"""


@pytest.mark.parametrize("connects", [False, True])
@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "refused the credential"),
        (grpc.StatusCode.PERMISSION_DENIED, "refused the credential"),
        (grpc.StatusCode.UNAVAILABLE, "cannot be reached"),
    ],
)
@pytest.mark.usefixtures("quick")
async def test_a_refusal_is_told_apart_from_an_absence_without_the_servers_words(
    code: grpc.StatusCode, sentence: str, *, connects: bool
) -> None:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Refusing(code, connects=connects)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    store = open_store(f"milvus://user:canary@127.0.0.1:{port}")
    try:
        with pytest.raises(StoreUnavailableError, match=sentence) as raised:
            await store.open()
    finally:
        server.stop(None).wait()
    assert raised.value.__cause__ is None
    shown = "".join(traceback.format_exception(raised.value))
    assert "canary" not in f"{shown} {store!r} {vars(store)!r}"


def test_nothing_of_a_failure_is_printed_or_logged() -> None:
    handler = Refusing(grpc.StatusCode.PERMISSION_DENIED, connects=True)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    done = subprocess.run(
        [sys.executable, "-c", OPENING.format(url=f"milvus://user:canary@127.0.0.1:{port}")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    server.stop(None).wait()
    assert "refused the credential" in done.stdout
    shown = done.stdout + done.stderr
    for secret in ("canary", base64.b64encode(b"user:canary").decode()):
        assert secret not in shown
    assert "pymilvus" not in shown


async def test_a_closed_store_says_so_and_can_be_opened_again(
    milvus_lite: MilvusLiteServer,
) -> None:
    store = open_store(milvus_lite.create_database())
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="not open"):
            await store.search("t", "c", dense())
        assert not await store.healthy()
        async with store:
            await fill(store, "t", "c", [document("d")])
            assert await store.healthy()


async def test_a_database_that_is_not_there_is_reported(milvus_lite: MilvusLiteServer) -> None:
    with pytest.raises(StoreUnavailableError, match="refused a call"):
        await open_store(f"{milvus_lite.url}/absent").open()


async def test_a_newer_layout_is_refused(milvus_lite: MilvusLiteServer) -> None:
    url = milvus_lite.create_database()
    async with open_store(url) as store:
        await set_layout(store, 99)
    with pytest.raises(SchemaTooNewError, match="99"):
        await open_store(url).open()


async def set_layout(store: Store, number: int) -> None:
    assert isinstance(store, MilvusStore)
    await store._connection.upsert(CATALOG, [catalog_row("schema", "schema", payload=number)])


def test_importing_the_client_reads_no_settings_from_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CANARY=1\nMILVUS_URI=http://elsewhere\n")
    program = (
        "import os, sys;"
        "from query.store.milvus.driver import load; load();"
        "assert 'pymilvus' in sys.modules and 'CANARY' not in os.environ"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment)


async def test_a_write_that_has_begun_is_finished_when_its_task_is_cancelled(
    milvus_lite: MilvusLiteServer,
) -> None:
    url = milvus_lite.create_database()
    reached, go_on = asyncio.Event(), asyncio.Event()
    store = open_store(url)
    async with store:
        await fill(store, "t", "c", [document("d")])
        assert isinstance(store, MilvusStore)
        own: Any = store._connection
        insert = own.insert

        async def late(table: str, some: object) -> None:
            reached.set()
            await go_on.wait()
            await insert(table, some)

        own.insert = late
        writing = asyncio.create_task(fill(store, "t", "c", [document("e")]))
        await reached.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        go_on.set()
    async with open_store(url) as store:
        assert sorted(ids(await store.search("t", "c", dense()))) == ["d#0", "e#0"]
