"""grpcurl, which knows nothing of the services but what reflection tells it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.system.asking import COLLECTION, UPSTREAM_MODELS, Paced, base_urls, index_all
from tests.system.cluster import SERVICES, Cluster
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

# One cluster for all of them, and so one loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

# One cluster for all of them, and so one loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

# The wheel puts its program next to the interpreter of the virtual environment.
GRPCURL = Path(sys.executable).with_name("grpcurl")

EXECUTION = "cascada.agent_execution.v1.AgentExecutionService"
QUERY = "cascada.query.v1.QueryService"
EMBEDDING = "cascada.embedding.v1.EmbeddingService"
CONFIGURATION = "cascada.config.v1.ConfigurationService"
COMMON = {CONFIGURATION, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}

DESIGN = (
    '{"message": "¿Cuál es la capital de Francia?", '
    '"model_preferences": {"provider": "groq", "model": "llama-3.3-70b-versatile"}}'
)

OWN = {"agent-execution": EXECUTION, "query": QUERY, "embedding": EMBEDDING}
METHODS = {
    EXECUTION: {"Execute", "StreamExecute"},
    QUERY: {
        "Query",
        "StreamQuery",
        "Search",
        "IndexDocuments",
        "DeleteDocuments",
        "ListDocuments",
        "ListCollections",
        "GetCollection",
        "DeleteCollection",
        "ReindexCollection",
    },
    EMBEDDING: {"Embed"},
}


@dataclass(frozen=True)
class Outcome:
    """What a run of grpcurl came to."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Grpcurl:
    """grpcurl against one cluster."""

    cluster: Cluster
    upstream: UpstreamServer

    async def __call__(self, service: str, *arguments: str, data: str | None = None) -> Outcome:
        """Run it to its end."""
        async with self.started(service, *arguments, data=data) as process:
            out, err = await process.communicate()
        assert process.returncode is not None
        return Outcome(process.returncode, out.decode(), err.decode())

    async def json(self, service: str, method: str, data: str = "{}") -> Any:
        """Call a method; the response, or the last of a stream's."""
        outcome = await self(service, method, data=data)
        assert outcome.code == 0, outcome.err
        return documents(outcome.out)[-1]

    @asynccontextmanager
    async def started(
        self, service: str, *arguments: str, data: str | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it; it is killed at the end if it still runs."""
        command = ["-plaintext", "-max-time", "30"]
        if data is not None:
            command += ["-d", data]
        process = await asyncio.create_subprocess_exec(
            GRPCURL,
            *command,
            self.cluster.target(service),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def documents(text: str) -> list[Any]:
    """The JSON documents that stand one after another."""
    decoder = json.JSONDecoder()
    found, rest = [], text.lstrip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].lstrip()
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grpcurl(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Grpcurl]:
    """Give grpcurl, and three services in one process whose provider is the upstream server."""
    async with UpstreamServer() as upstream:
        environ = {**UPSTREAM_MODELS, **base_urls(upstream), "OPENAI_API_KEY": "a-key-1"}
        async with Cluster(tmp_path_factory.mktemp("grpcurl"), environ) as cluster:
            await cluster.serve_all()
            yield Grpcurl(cluster, upstream)


async def test_reflection_lists_and_describes_every_service(grpcurl: Grpcurl) -> None:
    for service in SERVICES:
        own = OWN[service]
        listed = await grpcurl(service, "list")
        assert set(listed.out.split()) == {own, *COMMON}
        methods = await grpcurl(service, "list", own)
        assert set(methods.out.split()) == {f"{own}.{method}" for method in METHODS[own]}
        for name in sorted({own, *COMMON}):
            described = await grpcurl(service, "describe", name)
            assert described.out.startswith(f"{name} is a service:"), described
    described = await grpcurl("query", "describe", "cascada.config.v1.ModelConfiguration")
    assert "optional double temperature = 4;" in described.out


async def test_every_service_is_called_by_reflection(grpcurl: Grpcurl) -> None:
    await index_all(grpcurl.cluster.query)
    searched = f'"retrieval": {{"collections": ["{COLLECTION}"]}}'

    executed = await grpcurl.json(
        "agent-execution", f"{EXECUTION}/Execute", f'{{"message": "¿Y París?", {searched}}}'
    )
    assert executed["answer"] == Content().text
    assert {citation["document_id"] for citation in executed["citations"]} >= {"france"}
    queried = await grpcurl.json("query", f"{QUERY}/Query", '{"message": "hola"}')
    assert queried["answer"] == Content().text
    found = await grpcurl.json("query", f"{QUERY}/Search", f'{{"query": "Paris", {searched}}}')
    assert {hit["document_id"] for hit in found["hits"]} >= {"france"}
    listed = await grpcurl.json("query", f"{QUERY}/ListCollections")
    assert [each["name"] for each in listed["collections"]] == [COLLECTION]
    vectors = await grpcurl.json("embedding", f"{EMBEDDING}/Embed", '{"texts": ["uno", "dos"]}')
    assert len(vectors["embeddings"]) == 2
    for service in SERVICES:
        resolved = await grpcurl.json(service, f"{CONFIGURATION}/ResolveConfiguration")
        assert resolved["operations"][0]["effective"]["digest"]


async def test_documents_are_indexed_by_a_stream_in_both_directions(grpcurl: Grpcurl) -> None:
    parts = [
        {"options": {"collection": "notes"}},
        {"document": {"document_id": "one", "text": "Paris is the capital of France."}},
        {"document": {"document_id": "two", "text": "Roma es la capital de Italia."}},
    ]
    data = "\n".join(json.dumps(part) for part in parts)
    outcome = await grpcurl("query", f"{QUERY}/IndexDocuments", data=data)
    *results, last = documents(outcome.out)
    assert {part["result"]["document_id"] for part in results} == {"one", "two"}
    assert last["summary"]["indexed"] == "2"


async def test_a_streamed_answer_arrives_piece_by_piece(grpcurl: Grpcurl) -> None:
    paced = Paced()
    grpcurl.upstream.script(paced)
    read: list[str] = []
    method = f"{EXECUTION}/StreamExecute"
    async with grpcurl.started("agent-execution", method, data='{"message": "hola"}') as process:
        assert process.stdout is not None
        for piece in Content().pieces:
            # The upstream sends the next piece only now, after the one before was read here.
            paced.release()
            while True:
                line = await asyncio.wait_for(process.stdout.readline(), 20)
                assert line, "the stream ended early"
                read.append(line.decode())
                if '"delta"' in read[-1]:
                    break
            assert json.dumps(piece, ensure_ascii=False) in read[-1]
            assert not any('"completed"' in line for line in read)
        paced.release()
        read.append((await process.stdout.read()).decode())
        assert await process.wait() == 0
    events = documents("".join(read))
    assert [event["delta"] for event in events[:-1]] == list(Content().pieces)
    assert events[-1]["completed"]["answer"] == Content().text


async def test_the_design_s_json_names_the_credential_that_is_missing(grpcurl: Grpcurl) -> None:
    outcome = await grpcurl("agent-execution", f"{EXECUTION}/Execute", data=DESIGN)
    assert outcome.code != 0
    assert "Code: FailedPrecondition" in outcome.err
    message = next(line for line in outcome.err.splitlines() if "Message:" in line)
    assert "GROQ_API_KEY" in message
    assert "chat_api_key" in message
    info = detail(outcome.err, "google.rpc.ErrorInfo")
    assert info["domain"] == "cascada"
    assert info["reason"] == "CREDENTIAL_MISSING"
    assert info["metadata"]["variable"] == "GROQ_API_KEY"
    assert info["metadata"]["field"] == "chat_api_key"
    trace = detail(outcome.err, "cascada.config.v1.ConfigurationTrace")
    assert [hop["service"] for hop in trace["hops"]] == ["agent-execution", "query"]
    values = trace["hops"][0]["effective"]["values"]
    assert values["chat_model"] == "llama-3.3-70b-versatile"


def detail(text: str, kind: str) -> Any:
    """The error detail of a type, decoded as grpcurl prints it: a number, and then JSON."""
    decoder = json.JSONDecoder()
    for start in (index for index, letter in enumerate(text) if letter == "{"):
        try:
            found, _ = decoder.raw_decode(text[start:])
        except json.JSONDecodeError:
            continue
        if str(found.get("@type", "")).endswith(f"/{kind}"):
            return found
    raise AssertionError(f"no {kind} in {text}")
