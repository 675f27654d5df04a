"""Several query processes over one SQLite file, and a collection that moves to another space."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from cascada.common.v1 import retrieval_pb2
from cascada.config.v1 import model_configuration_pb2
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from config_core.errors import Reason
from service_core.status import from_status
from tests.system.asking import UPSTREAM_MODELS, base_urls, index_all
from tests.system.cluster import CALL_SECONDS, Cluster
from tests.system.waiting import until
from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Exchange
from tests.upstream.server import UpstreamServer

COLLECTION = "towns"
TOWNS = 256
OLD, NEW = "text-embedding-3-small", "text-embedding-3-large"
"""Two models with vectors of one length."""


def texts(count: int) -> Mapping[str, str]:
    return {
        f"town-{number:03}": f"The town number {number} lies on a river of its own."
        for number in range(count)
    }


@dataclass
class Gate:
    """Answers well; of the passages for the new model all calls but the first wait for `open`."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        body = exchange.received.body
        if body["model"] == NEW and body["input"] != ["text"]:
            self.calls += 1
            if self.calls > 1:
                await self.open.wait()
        return await Answer().respond(exchange)


def environ_of(upstream: UpstreamServer) -> dict[str, str]:
    return {**UPSTREAM_MODELS, **base_urls(upstream), "OPENAI_API_KEY": "a-key-1"}


@asynccontextmanager
async def two_query_processes(
    folder: Path, upstream: UpstreamServer
) -> AsyncIterator[tuple[Cluster, Cluster]]:
    """One embedding service, and two query services over one store."""
    for name in ("one", "other"):
        (folder / name).mkdir()
    shared = {**environ_of(upstream), "CASCADA_STORE": f"sqlite:///{folder}/shared.db"}
    async with Cluster(folder / "one", shared) as one:
        await one.serve("embedding")
        at = {"CASCADA_EMBEDDING_TARGET": one.target("embedding")}
        async with Cluster(folder / "other", {**shared, **at}) as other:
            await one.serve("query")
            await other.serve("query")
            yield one, other


def reindexing() -> pb.ReindexCollectionRequest:
    return pb.ReindexCollectionRequest(
        collection=COLLECTION,
        model_configuration=model_configuration_pb2.ModelConfiguration(
            embedding_model=NEW, embedding_dimensions=8
        ),
    )


async def reindex(stub: "QueryServiceStub") -> pb.ReindexSummary:
    call = stub.ReindexCollection(reindexing(), timeout=CALL_SECONDS)
    parts = [part async for part in call]
    return parts[-1].summary


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def search(stub: "QueryServiceStub", text: str, top_k: int = 3) -> pb.SearchResponse:
    retrieval = retrieval_pb2.Retrieval(
        collections=[COLLECTION], top_k=top_k, mode=retrieval_pb2.RETRIEVAL_MODE_DENSE
    )
    return await stub.Search(
        pb.SearchRequest(query=text, retrieval=retrieval), timeout=CALL_SECONDS
    )


async def model_of(stub: "QueryServiceStub") -> str:
    """The model of the collection's space."""
    request = pb.GetCollectionRequest(collection=COLLECTION)
    response = await stub.GetCollection(request, timeout=CALL_SECONDS)
    return response.collection.embedding_space.model


async def check_complete(stub: "QueryServiceStub", written: Mapping[str, str]) -> None:
    """Every document is found by its own text, in the new space."""
    assert await model_of(stub) == NEW
    for name, text in written.items():
        response = await search(stub, text, top_k=1)
        assert [hit.document_id for hit in response.hits] == [name]
        assert response.hits[0].dense_score > 0.999


async def test_what_one_process_indexes_the_other_finds_at_once(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    async with two_query_processes(tmp_path, upstream) as (one, other):
        written = texts(3)
        await index_all(one.query, written, COLLECTION)
        for name, text in written.items():
            response = await search(other.query, text)
            assert response.hits[0].document_id == name
        await other.query.DeleteDocuments(
            pb.DeleteDocumentsRequest(collection=COLLECTION, document_ids=["town-001"]),
            timeout=CALL_SECONDS,
        )
        response = await search(one.query, written["town-001"])
        assert sorted(hit.document_id for hit in response.hits) == ["town-000", "town-002"]


async def test_every_process_answers_rightly_before_while_and_after_one_switches(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    upstream.default = gate = Gate()
    async with two_query_processes(tmp_path, upstream) as (one, other):
        written = dict(texts(TOWNS))
        await index_all(one.query, written, COLLECTION)
        seen = set[str]()
        over = asyncio.Event()

        async def ask(stub: "QueryServiceStub") -> None:
            number = 0
            while not over.is_set():
                name = f"town-{number % len(written):03}"
                number += 1
                try:
                    response = await search(stub, written[name])
                except grpc.aio.AioRpcError as error:
                    found = from_status(error, "query")
                    assert found.code_reason is Reason.EMBEDDING_SPACE_MISMATCH, found
                    continue
                assert (len(response.hits), response.hits[0].document_id) == (3, name)
                assert response.hits[0].dense_score > 0.999
                seen.add(response.configuration_trace.hops[0].effective.values.embedding_model)

        asking = [asyncio.create_task(ask(each.query)) for each in (one, other)]
        switching = asyncio.create_task(reindex(one.query))
        await until(lambda: gate.calls > 1 and seen == {OLD}, "searches beside the reindexing")
        more = {"late": "A late town of which nobody had heard before."}
        await index_all(other.query, more, COLLECTION)
        gate.open.set()
        summary = await switching
        await until(lambda: seen == {OLD, NEW}, "searches in the new space")
        over.set()
        await asyncio.gather(*asking)
        assert (summary.previous_space.model, summary.embedding_space.model) == (OLD, NEW)
        assert summary.documents == len(written) + 1
        await check_complete(other.query, {**texts(5), **more})


async def test_a_killed_process_leaves_the_old_space_and_another_one_continues(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    upstream.default = gate = Gate()
    async with two_query_processes(tmp_path, upstream) as (one, other):
        written = texts(TOWNS)
        await index_all(one.query, written, COLLECTION)
        call = one.query.ReindexCollection(reindexing(), timeout=CALL_SECONDS)
        done = 0
        while not done:
            part = await call.read()
            assert isinstance(part, pb.ReindexCollectionResponse)
            done = part.progress.documents
        killed = one.programs[-1]
        killed.signal(signal.SIGKILL)
        await killed.ended()
        with pytest.raises(grpc.aio.AioRpcError):
            await read_to_the_end(call)
        assert await model_of(other.query) == OLD
        assert (await search(other.query, written["town-007"])).hits[0].document_id == "town-007"
        gate.open.set()
        summary = await reindex(other.query)
        assert 0 < summary.documents <= TOWNS - done
        await check_complete(other.query, texts(5))


async def test_an_interrupted_command_leaves_the_old_space_and_the_next_one_continues(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    upstream.default = gate = Gate()
    async with Cluster(tmp_path, environ_of(upstream)) as one:
        await one.serve("embedding")
        await one.serve("query")
        await index_all(one.query, texts(TOWNS), COLLECTION)
        arguments = (
            *("-m", "cli", "reindex", COLLECTION, "--target", one.target("query"), "--json"),
            *("--embedding-model", NEW, "--embedding-dimensions", "8"),
        )
        interrupted = await one.start(*arguments)
        await until(lambda: gate.calls > 1, "the second call")
        interrupted.signal(signal.SIGINT)
        assert await interrupted.ended() == 130
        assert interrupted.text == ""
        assert await model_of(one.query) == OLD
        gate.open.set()
        again = await one.start(*arguments)
        assert await again.ended() == 0, again.text
        assert '"documents": ' in again.text
        await check_complete(one.query, texts(5))
