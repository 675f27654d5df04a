import hashlib
import os
import pickle
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascada.config.v1 import (
    configuration_trace_pb2,
    embedding_space_pb2,
    model_configuration_pb2,
    model_provider_pb2,
)
from cascada.embedding.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb
from google.rpc import status_pb2

from config_core.errors import Reason, RemoteError
from query.bulk.job import Job, Report, UnreadableError, place_of
from query.bulk.worker import BulkWorker
from query.store import open_store
from service_core.interceptors import ErrorInterceptor
from service_core.server import GrpcServer

CANARY = "sk-canary-of-the-operator"
TENANT = "acme"


@dataclass(frozen=True)
class Source:
    document_id: str
    text: str


def read(source: Source) -> document_pb2.Document:
    if not source.text:
        raise UnreadableError("is a pipe")
    return document_pb2.Document(document_id=source.document_id, text=source.text)


@dataclass
class Embedding(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Embeds by a hash of each text, or fails."""

    error: RemoteError | None = None

    async def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        if self.error is not None:
            raise self.error
        space = embedding_space_pb2.EmbeddingSpace(
            provider=model_provider_pb2.MODEL_PROVIDER_LOCAL,
            model="multilingual-e5-small",
            dimensions=384,
            prefix="e5",
        )
        vectors = [
            np.frombuffer(hashlib.shake_256(text.encode()).digest(384), "u1")
            .astype("<f4")
            .tobytes()
            for text in request.texts
        ]
        return embedding_service_pb2.EmbedResponse(embeddings=vectors, space=space)


@pytest.fixture
def embedding() -> Embedding:
    return Embedding()


@pytest.fixture
async def target(embedding: Embedding) -> AsyncIterator[str]:
    server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
    add = embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server
    server.add("cascada.embedding.v1.EmbeddingService", add, embedding)
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.stop(0)


@pytest.fixture
def store_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a machine of the cluster, and its working folder."""
    for name in os.environ:
        if name.startswith(("CASCADA_", "OPENAI_")):
            monkeypatch.delenv(name)
    url = f"sqlite:///{tmp_path}/store.db"
    monkeypatch.setenv("CASCADA_STORE", url)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.chdir(tmp_path)
    return url


@pytest.fixture
def job(tmp_path: Path, target: str, store_url: str) -> Job[Source]:
    options = document_pb2.IndexOptions(collection="cities")
    options.context.tenant_id = TENANT
    return Job(
        options=options.SerializeToString(),
        target=target,
        store=place_of(store_url),
        folder=tmp_path,
        read=read,
    )


SOURCES = [Source("madrid", "Madrid es la capital."), Source("paris", "París es la capital.")]


async def index(job: Job[Source], sources: list[Source]) -> Report:
    worker = BulkWorker(job)
    assert await worker.open() == ""
    try:
        return await worker.index(sources)
    finally:
        await worker.close()


def results_of(report: Report) -> dict[str, str]:
    found = [pb.IndexDocumentsResponse.FromString(each).result for each in report.results]
    outcomes = document_pb2.DocumentOutcome
    return {each.document_id: outcomes.Name(each.outcome).split("_")[-1] for each in found}


async def test_documents_are_stored_as_the_service_stores_them(
    job: Job[Source], store_url: str
) -> None:
    report = await index(job, SOURCES)
    assert results_of(report) == {"madrid": "INDEXED", "paris": "INDEXED"}
    summary = document_pb2.IndexSummary.FromString(report.summary)
    assert (summary.indexed, summary.chunks) == (2, 2)
    assert [hop.service for hop in summary.configuration_trace.hops] == ["query"]
    async with open_store(store_url) as store:
        [chunk] = await store.get_chunks(TENANT, "cities", "paris")
    assert chunk.text == "París es la capital."


async def test_what_another_worker_has_stored_is_unchanged(job: Job[Source]) -> None:
    await index(job, SOURCES[:1])
    assert results_of(await index(job, SOURCES)) == {"madrid": "UNCHANGED", "paris": "INDEXED"}


async def test_what_can_not_be_read_is_named_and_the_rest_goes_on(job: Job[Source]) -> None:
    report = await index(job, [Source("pipe", ""), *SOURCES])
    assert report.unreadable == (("pipe", "is a pipe"),)
    assert len(report.results) == 2


async def test_what_ends_a_stream_comes_back_as_a_status_with_the_trace(
    job: Job[Source], embedding: Embedding
) -> None:
    embedding.error = RemoteError(Reason.CREDENTIAL_MISSING, "Set a key.")
    report = await index(job, SOURCES)
    status = status_pb2.Status.FromString(report.error)
    assert status.message == "Set a key."
    trace = configuration_trace_pb2.ConfigurationTrace()
    assert any(detail.Unpack(trace) for detail in status.details)
    assert [hop.service for hop in trace.hops] == ["query"]
    assert report.summary == b""


async def test_no_key_travels_neither_in_a_report_nor_in_an_error(
    job: Job[Source], embedding: Embedding
) -> None:
    options = document_pb2.IndexOptions.FromString(job.options)
    options.model_configuration.CopyFrom(
        model_configuration_pb2.ModelConfiguration(
            embedding_provider=model_provider_pb2.MODEL_PROVIDER_OPENAI
        )
    )
    job = replace(job, options=options.SerializeToString())
    reports = [await index(job, SOURCES)]
    embedding.error = RemoteError(Reason.CREDENTIAL_MISSING, "Set a key.")
    reports.append(await index(job, [Source("roma", "Roma.")]))
    assert reports[0].summary
    assert reports[1].error
    for each in (*reports, job):
        assert CANARY.encode() not in pickle.dumps(each)


async def test_wrong_options_are_refused_with_all_that_is_wrong(job: Job[Source]) -> None:
    options = document_pb2.IndexOptions(collection=" ", chunk_overlap_sentences=9)
    report = await index(replace(job, options=options.SerializeToString()), SOURCES)
    status = status_pb2.Status.FromString(report.error)
    assert "options.collection" in status.message
    assert "(and 1 more)" in status.message


async def test_a_worker_with_another_store_says_so(
    job: Job[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_STORE", "sqlite:///other.db")
    assert "another CASCADA_STORE" in await BulkWorker(job).open()


async def test_a_worker_without_the_folder_says_so(job: Job[Source], tmp_path: Path) -> None:
    problem = await BulkWorker(replace(job, folder=tmp_path / "none")).open()
    assert "there is no folder" in problem


async def test_a_worker_with_a_wrong_environment_says_so(
    job: Job[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_MAX_CONTEXT_TOKENS", "many")
    assert "CASCADA_MAX_CONTEXT_TOKENS" in await BulkWorker(job).open()


async def test_a_worker_that_can_not_open_the_store_says_so(
    job: Job[Source], tmp_path: Path
) -> None:
    (tmp_path / "store.db").mkdir()
    assert await BulkWorker(job).open() != ""


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://user:secret@host:5432/base?password=p", "postgresql://host:5432/base"),
        ("postgresql://host/base", "postgresql://host/base"),
        ("sqlite:///data/store.db", "sqlite:///data/store.db"),
        ("milvus://u:p@host:19530/db#t", "milvus://host:19530/db"),
    ],
)
def test_a_stores_place_has_no_credential(url: str, place: str) -> None:
    assert place_of(url) == place
