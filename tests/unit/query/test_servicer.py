"""The query service over gRPC, with models that answer predictably."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.common.v1 import chat_pb2
from cascada.config.v1 import configuration_source_pb2, effective_configuration_pb2
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from google.protobuf import json_format

from config_core.errors import CascadaError, Reason, RemoteError
from config_core.model_configuration import ModelProvider
from embedding import app as embedding_app
from query import app
from query.providers.model import Finished, FinishReason, TextDelta, ToolCallDelta
from service_core.upstream.errors import StreamInterruptedError, UpstreamFailedError
from service_core.usage import Usage
from tests.unit.query.pdf_files import pdf
from tests.unit.query.world import NOTHING_FOUND, World, serving
from tests.unit.service_core.running import caught, hops_of, running
from tests.upstream.behaviours import Answer
from tests.upstream.formats import Content, Wish
from tests.upstream.server import UpstreamServer

CONTEXT: dict[str, Any] = {"tenant_id": "acme"}
OPENAI: dict[str, Any] = {"chat_provider": "MODEL_PROVIDER_OPENAI"}
OPENAI_AGAIN: dict[str, Any] = {"provider": "MODEL_PROVIDER_OPENAI", "model": "another"}
TINY: dict[str, Any] = {
    "embedding_provider": "MODEL_PROVIDER_OPENAI",
    "embedding_model": "tiny",
}
ASKED: dict[str, Any] = {
    "context": CONTEXT,
    "message": "¿Cuál es la capital de España?",
    "model_configuration": OPENAI,
}
OPTIONS: dict[str, Any] = {"context": CONTEXT, "collection": "cities"}
RETRIEVAL: dict[str, Any] = {"collections": ["cities"]}
RPCS: dict[str, Any] = {
    "Query": pb.QueryRequest,
    "StreamQuery": pb.StreamQueryRequest,
    "Search": pb.SearchRequest,
    "IndexDocuments": pb.IndexDocumentsRequest,
    "DeleteDocuments": pb.DeleteDocumentsRequest,
    "ListCollections": pb.ListCollectionsRequest,
    "ListDocuments": pb.ListDocumentsRequest,
    "GetCollection": pb.GetCollectionRequest,
    "DeleteCollection": pb.DeleteCollectionRequest,
    "ReindexCollection": pb.ReindexCollectionRequest,
}

STREAMING = ("StreamQuery", "ReindexCollection")


class Client:
    """Calls by name, with requests as JSON."""

    def __init__(self, stub: QueryServiceStub) -> None:
        self.stub = stub

    def start(self, name: str, *requests: dict[str, Any], **fields: Any) -> Any:
        """Begin a call."""
        method = getattr(self.stub, name)
        messages = [json_format.ParseDict(request, RPCS[name]()) for request in (*requests, fields)]
        if name == "IndexDocuments":
            return method(iter(messages[:-1]), timeout=20)
        return method(messages[-1], timeout=20)

    async def call(self, name: str, **fields: Any) -> Any:
        """Call, and give the answer, or all of them."""
        call = self.start(name, **fields)
        return [event async for event in call] if name in STREAMING else await call

    async def index(self, *parts: dict[str, Any]) -> list[Any]:
        """Index, and give the results and last the summary."""
        call = self.start("IndexDocuments", *parts)
        answers = [getattr(answer, answer.WhichOneof("part")) async for answer in call]
        assert [type(answer) for answer in answers[-1:]] == [document_pb2.IndexSummary]
        return answers

    async def failure(self, name: str, *requests: dict[str, Any], **fields: Any) -> Any:
        """Call, and give the error that has to come."""
        call = self.index(*requests) if name == "IndexDocuments" else self.call(name, **fields)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        return raised.value

    async def refused(self, name: str, *requests: dict[str, Any], **fields: Any) -> list[str]:
        """The fields for which a request is refused."""
        error = await self.failure(name, *requests, **fields)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        return [violation.field for violation in caught(error).violations]


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    async with serving(world) as stub:
        yield Client(stub)


def documents(*names: str, text: str = "Un texto.") -> list[dict[str, Any]]:
    """Documents of these names as parts of a stream."""
    return [{"document": {"document_id": name, "text": text}} for name in names]


def reason_of(error: grpc.aio.AioRpcError) -> Reason:
    """The reason of an error."""
    found: CascadaError = caught(error)
    return found.code_reason


# Query and StreamQuery


async def test_a_question_is_answered_with_numbered_citations_and_a_trace(
    world: World, client: Client
) -> None:
    await world.fill()
    answer = await client.call("Query", **ASKED, retrieval=RETRIEVAL)
    assert answer.answer == "Es Madrid [1]."
    assert [citation.number for citation in answer.citations] == [1, 2, 3, 4]
    assert (answer.citations[0].document_id, answer.citations[0].title) == ("madrid", "Madrid")
    hops = answer.configuration_trace.hops
    assert [hop.service for hop in hops] == ["query", "embedding", "query"]
    assert hops[0].collections == ["cities"]
    source = configuration_source_pb2.CONFIGURATION_SOURCE_COLLECTION
    assert hops[0].effective.sources["embedding_model"] == source


@pytest.mark.parametrize("name", ["Query", "StreamQuery"])
async def test_a_citation_says_where_its_passage_stands_and_where_the_answer_cites_it(
    client: Client, name: str
) -> None:
    text = "# España\n\n## Capital\n\nMadrid es la capital de España."
    await client.index({"options": OPTIONS}, *documents("madrid", text=text))
    answered = await client.call(name, **ASKED, retrieval=RETRIEVAL)
    answer = answered[-1].completed if name == "StreamQuery" else answered
    [citation] = answer.citations
    [hit] = (
        await client.call("Search", context=CONTEXT, query="capital", retrieval=RETRIEVAL)
    ).hits
    assert citation.section == hit.section == "España > Capital"
    assert text[citation.document_start : citation.document_end] == hit.text
    assert (hit.document_start, hit.document_end) == (0, len(text))
    [span] = citation.answer_spans
    assert answer.answer[span.start : span.end] == "[1]"


@pytest.mark.parametrize("name", ["Query", "StreamQuery", "Search"])
async def test_the_small_local_model_can_not_order_passages(
    world: World, client: Client, name: str
) -> None:
    await world.fill()
    asked = {"query": "x"} if name == "Search" else {"message": "x"}
    retrieval = {**RETRIEVAL, "rerank": True}
    error = await client.failure(name, context=CONTEXT, retrieval=retrieval, **asked)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    found = caught(error)
    assert found.code_reason is Reason.CAPABILITY_UNSUPPORTED
    assert found.metadata["capability"] == "rerank"
    assert [violation.field for violation in found.violations] == ["retrieval.rerank"]


async def test_a_stream_ends_in_the_answer_that_its_deltas_make(
    world: World, client: Client
) -> None:
    await world.fill()
    *deltas, last = await client.call("StreamQuery", **ASKED, retrieval=RETRIEVAL)
    assert "".join(event.delta for event in deltas) == last.completed.answer == "Es Madrid [1]."
    assert last.completed.citations[0].document_id == "madrid"
    assert len(last.completed.configuration_trace.hops) == 3


async def test_a_restart_and_tool_calls_are_events_of_their_own(
    world: World, client: Client
) -> None:
    world.openai.script(
        TextDelta("Roma"), StreamInterruptedError(ModelProvider.OPENAI, "It was cut.")
    )
    world.openai.script(
        ToolCallDelta(0, "{", "a", "clock"),
        ToolCallDelta(0, "}"),
        Finished(FinishReason.TOOL_CALLS, Usage(1, 1), "m"),
    )
    configuration = {**OPENAI, "fallbacks": {"alternatives": [OPENAI_AGAIN]}, "retry_attempts": 0}
    events = await client.call("StreamQuery", **{**ASKED, "model_configuration": configuration})
    assert [event.WhichOneof("event") for event in events] == [
        "delta",
        "restarted",
        "tool_call_delta",
        "tool_call_delta",
        "completed",
    ]
    completed = events[-1].completed
    assert completed.answer == ""
    assert [(call.id, call.arguments) for call in completed.tool_calls] == [("a", "{}")]
    assert completed.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS


async def test_nothing_found_is_said_and_no_model_asked(world: World, client: Client) -> None:
    await world.fill()
    retrieval = {**RETRIEVAL, "similarity_threshold": 0.99}
    answer = await client.call("Query", **ASKED, retrieval=retrieval)
    assert (answer.answer, world.openai.calls) == (NOTHING_FOUND, [])


async def test_an_error_carries_its_reason_and_the_hops_so_far(
    world: World, client: Client
) -> None:
    await world.fill()
    world.openai.script(UpstreamFailedError(ModelProvider.OPENAI, "It failed.", status=500))
    asked = {**ASKED, "model_configuration": {**OPENAI, "retry_attempts": 0}}
    error = await client.failure("Query", **asked, retrieval=RETRIEVAL)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error) is Reason.UPSTREAM_FAILED
    hops = hops_of(error)
    assert [hop.service for hop in hops] == ["query", "embedding", "query"]
    assert [attempt.status for attempt in hops[-1].attempts] == [500]


async def test_a_missing_key_names_the_variable_and_the_field(client: Client) -> None:
    asked = {**ASKED, "model_configuration": {"chat_provider": "MODEL_PROVIDER_GROQ"}}
    error = await client.failure("StreamQuery", **asked)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(error) is Reason.CREDENTIAL_MISSING
    assert "GROQ_API_KEY" in error.details()
    assert "chat_api_key" in error.details()


async def test_a_mismatch_tells_both_spaces(world: World, client: Client) -> None:
    await world.fill()
    error = await client.failure(
        "Query", **{**ASKED, "model_configuration": {**OPENAI, **TINY}}, retrieval=RETRIEVAL
    )
    facts = caught(error).metadata
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert facts["collection_space"].startswith("local/multilingual-e5-small")
    assert facts["requested_space"].startswith("openai/tiny")


async def test_cancelling_a_stream_closes_the_providers(world: World, client: Client) -> None:
    world.openai.hold_after = 1
    call = client.start("StreamQuery", **ASKED)
    assert (await call.read()).delta == "Es "
    assert world.openai.open_streams == 1
    call.cancel()
    await eventually(lambda: world.openai.open_streams == 0)


@pytest.mark.parametrize("name", ["Query", "StreamQuery"])
async def test_cancelling_during_the_search_ends_the_embedding(
    world: World, client: Client, name: str
) -> None:
    await world.fill()
    began = asyncio.Event()

    async def forever(_: Sequence[str]) -> None:
        began.set()
        await asyncio.Event().wait()

    world.embeddings.before = forever
    call = client.start(name, **ASKED, retrieval=RETRIEVAL)
    reading = asyncio.ensure_future(call.read() if name == "StreamQuery" else _awaited(call))
    await began.wait()
    call.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled() or reading.exception() is not None
    await eventually(lambda: world.embeddings.running == 0)
    assert world.openai.calls == []


async def _awaited(call: Any) -> Any:
    return await call


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds that the server does by itself."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 # there is no event for it
            await asyncio.sleep(0.005)


async def test_everything_that_is_wrong_with_a_question_is_said_at_once(client: Client) -> None:
    for name in ("Query", "StreamQuery"):
        assert await client.refused(
            name,
            context={"tenant_id": "x" * 129, "session_id": "\n"},
            message=" ",
            retrieval={"collections": [], "top_k": 0},
            history=[{"role": "system"}],
            tools=[{"name": "?"}],
            response_format={"json_schema": {"name": "n"}},
            model_configuration={"temperature": 9},
        ) == [
            "context.tenant_id",
            "context.session_id",
            "message",
            "history[0].role",
            "retrieval.collections",
            "retrieval.top_k",
            "tools[0].name",
            "response_format.json_schema.schema",
            "model_configuration.temperature",
        ], name


async def test_a_configuration_that_is_wrong_alone_is_invalid_configuration(
    client: Client,
) -> None:
    configuration = {**OPENAI, "temperature": 9, "top_p": 0}
    error = await client.failure("Query", **{**ASKED, "model_configuration": configuration})
    assert reason_of(error) is Reason.INVALID_CONFIGURATION
    assert [found.field for found in caught(error).violations] == [
        "model_configuration.temperature",
        "model_configuration.top_p",
    ]


async def test_a_message_of_200000_characters_is_taken_and_one_more_is_not(
    client: Client, world: World
) -> None:
    asked = {**ASKED, "message": "x" * 200_000}
    assert (await client.call("Query", **asked)).answer
    assert len(world.openai.calls[0].messages[-1].text) == 200_000
    assert await client.refused("Query", **{**asked, "message": "x" * 200_001}) == ["message"]


# Search


async def test_a_search_gives_hits_with_their_metadata_and_a_trace(
    world: World, client: Client
) -> None:
    await world.fill()
    found = await client.call(
        "Search", context=CONTEXT, query="capital de España", retrieval={**RETRIEVAL, "top_k": 2}
    )
    assert len(found.hits) == 2
    hit = found.hits[0]
    assert (hit.document_id, hit.collection, hit.title) == ("madrid", "cities", "Madrid")
    assert hit.metadata["name"] == "madrid"
    assert hit.HasField("dense_score")
    assert len(found.configuration_trace.hops) == 2


async def test_a_search_in_the_order_of_a_chat_model_tells_of_its_call(
    world: World, client: Client
) -> None:
    await world.fill()
    world.openai.script(
        TextDelta('{"order": [2]}'), Finished(FinishReason.STOP, Usage(40, 5), "some-model-1")
    )
    asked: dict[str, Any] = {"context": CONTEXT, "query": "capital de España"}
    plain = await client.call("Search", **asked, retrieval=RETRIEVAL)
    found = await client.call(
        "Search", **asked, retrieval={**RETRIEVAL, "rerank": True}, model_configuration=OPENAI
    )
    assert found.hits[0].chunk_id == plain.hits[1].chunk_id
    last = found.configuration_trace.hops[-1]
    assert (last.service, last.operation) == (
        "query",
        effective_configuration_pb2.OPERATION_CHAT,
    )
    assert (last.usage.input_tokens, list(last.collections)) == (40, ["cities"])
    assert last.effective.resolved_model == "some-model-1"


async def test_a_passage_comes_with_its_neighbours_where_it_is_asked_for(client: Client) -> None:
    sentences = [
        f"El capítulo {n} de este libro trata de {what}."
        for n, what in enumerate(("peces", "aves", "topacios"))
    ]
    options = {**OPTIONS, "chunk_tokens": 16, "chunk_overlap_sentences": 0}
    text = "\n\n".join(sentences)
    await client.index({"options": options}, *documents("book", text=text))
    asked: dict[str, Any] = {"context": CONTEXT, "query": "topacios"}
    retrieval = {**RETRIEVAL, "top_k": 1, "mmr_lambda": 0.5, "neighbours": 1}
    [hit] = (await client.call("Search", **asked, retrieval=retrieval)).hits
    assert hit.text == "\n\n".join(sentences[1:])
    assert text[hit.document_start : hit.document_end] == hit.text
    assert hit.position == 2


async def test_a_search_by_full_text_alone_has_no_dense_score(world: World, client: Client) -> None:
    await world.fill()
    retrieval = {**RETRIEVAL, "mode": "RETRIEVAL_MODE_FULL_TEXT"}
    found = await client.call("Search", context=CONTEXT, query="España", retrieval=retrieval)
    assert [hit.HasField("dense_score") for hit in found.hits] == [False]


async def test_everything_that_is_wrong_with_a_search_is_said_at_once(client: Client) -> None:
    assert await client.refused(
        "Search",
        query="x" * 20_001,
        retrieval={"mmr_lambda": 1.5, "neighbours": 6},
        model_configuration={"max_tokens": -1},
    ) == [
        "query",
        "retrieval.collections",
        "retrieval.mmr_lambda",
        "retrieval.neighbours",
        "model_configuration.max_tokens",
    ]


# IndexDocuments


async def test_documents_are_indexed_and_then_unchanged(client: Client) -> None:
    parts = [{"options": OPTIONS}, *documents("a"), *documents("b", text="Otro texto.")]
    *results, summary = await client.index(*parts)
    assert sorted((result.document_id, result.position) for result in results) == [
        ("a", 0),
        ("b", 1),
    ]
    assert (summary.indexed, summary.unchanged, summary.usage.input_tokens) == (2, 0, 2)
    assert [hop.service for hop in summary.configuration_trace.hops] == ["query", "embedding"]
    *results, summary = await client.index(*parts)
    assert {result.outcome for result in results} == {document_pb2.DOCUMENT_OUTCOME_UNCHANGED}
    assert (summary.indexed, summary.unchanged) == (0, 2)


async def test_the_options_come_first(client: Client) -> None:
    assert await client.refused("IndexDocuments", *documents("a")) == ["options"]
    assert await client.refused("IndexDocuments", {}) == ["options"]
    assert await client.refused("IndexDocuments") == ["options"]


@pytest.mark.parametrize("second", [{"options": OPTIONS}, {}])
async def test_after_the_options_come_documents_only(
    client: Client, second: dict[str, Any]
) -> None:
    parts = [{"options": OPTIONS}, *documents("a"), second]
    assert await client.refused("IndexDocuments", *parts) == ["document"]


async def test_everything_that_is_wrong_with_the_options_is_said_at_once(client: Client) -> None:
    options = {
        "context": {"task_id": "x" * 257},
        "collection": " c",
        "chunk_overlap_sentences": 9,
        "model_configuration": {"timeout_seconds": 0},
    }
    assert await client.refused("IndexDocuments", {"options": options}) == [
        "options.context.task_id",
        "options.collection",
        "options.chunk_overlap_sentences",
        "options.model_configuration.timeout_seconds",
    ]


async def test_a_configuration_in_the_options_is_named_there(client: Client) -> None:
    options = {**OPTIONS, "model_configuration": {"temperature": 9}}
    error = await client.failure("IndexDocuments", {"options": options})
    assert reason_of(error) is Reason.INVALID_CONFIGURATION
    assert [found.field for found in caught(error).violations] == [
        "options.model_configuration.temperature"
    ]
    assert error.details().startswith("options.model_configuration.temperature: ")


async def test_passages_are_as_large_as_the_model_takes_at_most(client: Client) -> None:
    options = {**OPTIONS, "chunk_tokens": 449}
    assert await client.refused("IndexDocuments", {"options": options}) == ["options.chunk_tokens"]


async def test_files_are_read_by_their_media_type(client: Client) -> None:
    page = b"<title>T</title><main><h1>A</h1><p>Un texto.</main>"
    parts = [
        {"document_id": "page", "media_type": "text/html", "content": b64encode(page).decode()},
        {
            "document_id": "paper",
            "media_type": "application/pdf",
            "content": b64encode(pdf(["Otro texto."], title="P")).decode(),
        },
        {"document_id": "cut", "media_type": "application/pdf", "content": "JVBERg=="},
    ]
    *results, summary = await client.index(
        {"options": OPTIONS}, *({"document": part} for part in parts)
    )
    failed = [result for result in results if result.detail]
    assert [result.document_id for result in failed] == ["cut"]
    assert "repair or export it anew" in failed[0].detail
    assert (summary.indexed, summary.failed) == (2, 1)
    listed = await client.call("ListDocuments", context=CONTEXT, collection="cities")
    assert [(each.document_id, each.title) for each in listed.documents] == [
        ("page", "T"),
        ("paper", "P"),
    ]


BAD_DOCUMENTS: dict[str, dict[str, Any]] = {
    "document_id": {"document_id": "", "text": "x"},
    "text": {"document_id": "bad", "text": " "},
    "metadata": {"document_id": "bad", "text": "x", "metadata": {"k": [1]}},
}


@pytest.mark.parametrize("bad", BAD_DOCUMENTS)
async def test_a_bad_document_fails_and_the_stream_goes_on(client: Client, bad: str) -> None:
    first, last = documents("a", "z")
    parts = [{"options": OPTIONS}, first, {"document": BAD_DOCUMENTS[bad]}, last]
    *results, summary = await client.index(*parts)
    failed = [result for result in results if result.position == 1]
    assert [result.outcome for result in failed] == [document_pb2.DOCUMENT_OUTCOME_FAILED]
    assert bad in failed[0].detail
    assert (summary.indexed, summary.failed) == (2, 1)


async def test_metadata_that_is_no_number_fails_its_document_only(client: Client) -> None:
    bad = pb.IndexDocumentsRequest()
    bad.document.document_id, bad.document.text = "bad", "x"
    bad.document.metadata.fields["k"].number_value = float("nan")
    options = json_format.ParseDict({"options": OPTIONS}, pb.IndexDocumentsRequest())
    call = client.stub.IndexDocuments(iter([options, bad]), timeout=20)
    result, summary = [answer async for answer in call]
    assert "metadata.k" in result.result.detail
    assert summary.summary.failed == 1


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.CREDENTIAL_MISSING, grpc.StatusCode.FAILED_PRECONDITION),
        (Reason.UPSTREAM_CREDENTIAL_REJECTED, grpc.StatusCode.UNAVAILABLE),
        (Reason.MODEL_NOT_FOUND, grpc.StatusCode.NOT_FOUND),
        (Reason.POLICY_VIOLATION, grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_what_fails_every_document_ends_the_stream_with_its_status(
    world: World, client: Client, reason: Reason, code: grpc.StatusCode
) -> None:
    async def fail(_: Sequence[str]) -> None:
        raise RemoteError(reason, "It can't be done.")

    world.embeddings.before = fail
    # The last message is what fails: gRPC's client can lose the status of a stream that is answered
    # while it still sends (grpc #36066).
    error = await client.failure("IndexDocuments", {"options": OPTIONS}, *documents("a"))
    assert (error.code(), reason_of(error)) == (code, reason)
    assert [hop.service for hop in hops_of(error)] == ["query"]


async def test_an_unexpected_fault_ends_the_stream_and_says_nothing_of_itself(
    world: World, client: Client
) -> None:
    async def fail(_: Sequence[str]) -> None:
        raise ZeroDivisionError("a secret")

    world.embeddings.before = fail
    error = await client.failure("IndexDocuments", {"options": OPTIONS}, *documents("a"))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "a secret" not in error.details()


async def test_cancelling_a_stream_of_documents_stops_the_embedding_and_stores_nothing(
    world: World, client: Client
) -> None:
    began = asyncio.Event()

    async def forever(_: Sequence[str]) -> None:
        began.set()
        await asyncio.Event().wait()

    world.embeddings.before = forever
    call = client.start("IndexDocuments", {"options": OPTIONS}, *documents("a", "b"))
    reading = asyncio.ensure_future(call.read())
    await began.wait()
    call.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled() or reading.exception() is not None
    await eventually(lambda: world.embeddings.running == 0)
    assert await world.store.get_collection("acme", "cities") is None


# The catalog


async def test_collections_are_listed_described_and_deleted(client: Client) -> None:
    for name in ("b", "a", "c"):
        await client.index({"options": {**OPTIONS, "collection": name}}, *documents("d"))
    first = await client.call("ListCollections", context=CONTEXT, page_size=2)
    assert [collection.name for collection in first.collections] == ["a", "b"]
    rest = await client.call(
        "ListCollections", context=CONTEXT, page_size=2, page_token=first.next_page_token
    )
    assert ([each.name for each in rest.collections], rest.next_page_token) == (["c"], "")
    described = await client.call("GetCollection", context=CONTEXT, collection="a")
    assert described.collection == first.collections[0]
    assert described.collection.embedding_space.model == "multilingual-e5-small"
    await client.call("DeleteCollection", context=CONTEXT, collection="a")
    error = await client.failure("GetCollection", context=CONTEXT, collection="a")
    assert reason_of(error) is Reason.COLLECTION_NOT_FOUND


async def test_a_page_has_at_most_1000_collections_and_100_by_default(
    world: World, client: Client
) -> None:
    sizes: list[int] = []

    async def noting(tenant: str, page_size: int, page_token: str = "") -> Any:
        del tenant, page_token
        sizes.append(page_size)
        return [], ""

    world.store.list_collections = noting  # type: ignore[method-assign]
    await client.call("ListCollections", context=CONTEXT)
    await client.call("ListCollections", context=CONTEXT, page_size=1000)
    assert sizes == [100, 1000]
    for size in (-1, 1001):
        assert await client.refused("ListCollections", page_size=size) == ["page_size"]


async def test_a_made_up_page_token_is_refused(client: Client) -> None:
    assert await client.refused("ListCollections", page_token="made up") == ["page_token"]


async def test_documents_are_listed_by_id_page_by_page(world: World, client: Client) -> None:
    await world.fill()
    asked: dict[str, Any] = {"context": CONTEXT, "collection": "cities", "page_size": 3}
    first = await client.call("ListDocuments", **asked)
    assert [each.document_id for each in first.documents] == ["berlin", "madrid", "paris"]
    berlin = first.documents[0]
    assert (berlin.title, berlin.chunk_count, berlin.metadata["name"]) == ("Berlin", 1, "berlin")
    rest = await client.call("ListDocuments", **asked, page_token=first.next_page_token)
    assert ([each.document_id for each in rest.documents], rest.next_page_token) == (["roma"], "")


async def test_the_source_of_a_document_is_listed(client: Client) -> None:
    document = {"document_id": "a", "text": "Un texto.", "source": "/docs/a.md"}
    await client.index({"options": OPTIONS}, {"document": document})
    listed = await client.call("ListDocuments", context=CONTEXT, collection="cities")
    assert [each.source for each in listed.documents] == ["/docs/a.md"]


async def test_everything_that_is_wrong_with_a_listing_of_documents_is_said_at_once(
    client: Client,
) -> None:
    assert await client.refused("ListDocuments", collection="", page_size=1001) == [
        "collection",
        "page_size",
    ]
    error = await client.failure("ListDocuments", context=CONTEXT, collection="cities")
    assert reason_of(error) is Reason.COLLECTION_NOT_FOUND


async def test_deleted_and_missing_documents_are_told_apart(world: World, client: Client) -> None:
    await world.fill()
    deleted = await client.call(
        "DeleteDocuments",
        context=CONTEXT,
        collection="cities",
        document_ids=["paris", "nowhere", "paris"],
    )
    assert (deleted.deleted_document_ids, deleted.missing_document_ids) == (["paris"], ["nowhere"])
    error = await client.failure(
        "DeleteDocuments", context=CONTEXT, collection="cities", document_ids=["paris"]
    )
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(error) is Reason.DOCUMENT_NOT_FOUND


async def test_1_to_1000_documents_are_deleted_at_once(world: World, client: Client) -> None:
    await world.fill()
    for ids in ([], ["x"] * 1001):
        assert await client.refused("DeleteDocuments", collection="c", document_ids=ids) == [
            "document_ids"
        ]
    deleted = await client.call(
        "DeleteDocuments",
        context=CONTEXT,
        collection="cities",
        document_ids=["paris", *(f"d{n}" for n in range(999))],
    )
    assert len(deleted.missing_document_ids) == 999


@pytest.mark.parametrize("name", ["GetCollection", "DeleteCollection", "DeleteDocuments"])
async def test_a_name_that_can_be_no_collections_is_refused(client: Client, name: str) -> None:
    fields = {"document_ids": ["d"]} if name == "DeleteDocuments" else {}
    assert await client.refused(name, collection="a\nb", **fields) == ["collection"]


async def test_another_tenant_finds_nothing_of_this_one(world: World, client: Client) -> None:
    await world.fill()
    other = {"tenant_id": "other"}
    assert len((await client.call("ListCollections", context=other)).collections) == 0
    for name, fields in (
        ("Query", {**ASKED, "retrieval": RETRIEVAL}),
        ("Search", {"query": "x", "retrieval": RETRIEVAL}),
        ("GetCollection", {"collection": "cities"}),
        ("DeleteCollection", {"collection": "cities"}),
        ("DeleteDocuments", {"collection": "cities", "document_ids": ["madrid"]}),
    ):
        error = await client.failure(name, **{**fields, "context": other})
        assert reason_of(error) is Reason.COLLECTION_NOT_FOUND, name
    collection = await world.store.get_collection("acme", "cities")
    assert collection is not None
    assert collection.document_count == 4


async def test_a_collection_goes_into_another_space(world: World, client: Client) -> None:
    await client.index({"options": OPTIONS}, *documents("a", "b"))
    space = {"embedding_provider": "MODEL_PROVIDER_OPENAI", "embedding_model": "tiny"}
    reindexing = {"context": CONTEXT, "collection": "cities", "model_configuration": space}
    *_, last = await client.call("ReindexCollection", **reindexing)
    assert last.summary.documents == 2
    collection = await world.store.get_collection("acme", "cities")
    assert collection is not None
    assert collection.space.model == "tiny"
    error = await client.failure("ReindexCollection", **{**reindexing, "collection": "absent"})
    assert reason_of(error) is Reason.COLLECTION_NOT_FOUND


async def test_no_tenant_is_the_default_tenant(world: World, client: Client) -> None:
    await client.index({"options": {"collection": "cities"}}, *documents("d"))
    assert await world.store.get_collection("default", "cities") is not None


# As its app builds it, with an embedding service beside it and OpenAI behind both


async def test_the_whole_service_indexes_searches_and_answers(tmp_path: Path) -> None:
    async with UpstreamServer() as upstream:
        environ = {
            "OPENAI_API_KEY": "sk-0123456789",
            "OPENAI_BASE_URL": upstream.url(ModelProvider.OPENAI),
            "CASCADA_CHAT_PROVIDER": "openai",
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_EMBEDDING_MODEL": "some-model",
            "CASCADA_DATA_DIR": str(tmp_path),
        }
        async with running(embedding_app.build, environ) as embedding:
            target = {"CASCADA_EMBEDDING_TARGET": f"127.0.0.1:{embedding.port}"}
            async with running(app.build, {**environ, **target}) as service:
                await _whole_service(upstream, service.channel)


async def _whole_service(upstream: UpstreamServer, channel: grpc.aio.Channel) -> None:
    client = Client(QueryServiceStub(channel))
    text = "Madrid es la capital de España."
    *_, summary = await client.index({"options": OPTIONS}, *documents("madrid", text=text))
    assert summary.indexed == 1
    asked = {"context": CONTEXT, "message": "¿Capital?", "retrieval": RETRIEVAL}
    answer = await client.call(
        "Query",
        **asked,
        history=[
            {"role": "user", "text": "Hola"},
            {"role": "assistant", "tool_calls": [{"id": "1", "name": "t", "arguments": "{}"}]},
            {"role": "tool", "text": "Nada", "tool_call_id": "1"},
        ],
        tools=[{"name": "t", "parameters": {"type": "object"}}],
        response_format={"json_object": {}},
    )
    assert answer.answer == Content().text
    assert [citation.document_id for citation in answer.citations] == ["madrid"]
    body = upstream.requests[-1].body
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert text in body["messages"][0]["content"]
    assert body["messages"][3]["tool_call_id"] == "1"
    assert body["tools"][0]["function"]["name"] == "t"
    assert body["response_format"] == {"type": "json_object"}
    upstream.script(Answer(), Answer(Content(tool_calls=[Wish("1", "clock", '{"a": 1}')])))
    events = await client.call("StreamQuery", **asked)
    assert [call.arguments for call in events[-1].completed.tool_calls] == ['{"a": 1}']
    assert [hop.service for hop in events[-1].completed.configuration_trace.hops] == [
        "query",
        "embedding",
        "query",
    ]


def test_each_call_of_the_service_is_tried_here() -> None:
    names: Iterable[str] = pb.DESCRIPTOR.services_by_name["QueryService"].methods_by_name
    assert set(names) == set(RPCS)
