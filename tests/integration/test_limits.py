"""Limits over all services: each request counts once, and no call of ours is without them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as execution
from cascada.common.v1 import request_context_pb2, retrieval_pb2
from cascada.embedding.v1 import embedding_service_pb2
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as query
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor

import agent_execution.app
import embedding.app
import query.app as query_app
from config_core.errors import Reason
from service_core.process import Build
from service_core.request_context import context_of
from tests.faults.services import Services, serve
from tests.servers.valkey import ValkeyServer
from tests.unit.service_core.running import caught, running
from tests.upstream.server import UpstreamServer

ACME = request_context_pb2.RequestContext(tenant_id="acme")
HANDBOOK = retrieval_pb2.Retrieval(collections=["handbook"])


def limited(**limits: int) -> dict[str, Any]:
    return {"tenants": {"acme": {"policy": {"limits": limits}}}}


async def index(services: Services, tenant: str) -> None:
    options = document_pb2.IndexOptions(
        context=request_context_pb2.RequestContext(tenant_id=tenant), collection="handbook"
    )
    document = document_pb2.Document(document_id="one", text="Paris is the capital of France.")

    async def sent() -> AsyncIterator[query.IndexDocumentsRequest]:
        yield query.IndexDocumentsRequest(options=options)
        yield query.IndexDocumentsRequest(document=document)

    async for _ in services.query.IndexDocuments(sent(), timeout=20):
        pass


async def outcome(call: Any) -> Reason | None:
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return caught(error).code_reason
    return None


def question(**more: Any) -> execution.ExecuteRequest:
    return execution.ExecuteRequest(context=ACME, message="Capital?", **more)


@pytest.mark.parametrize("forward", ["0", "1"])
async def test_a_request_that_passes_three_services_counts_once(
    forward: str, tmp_path: Path
) -> None:
    with ValkeyServer() as server:
        environ = {"CASCADA_LIMITS_URL": server.url, "CASCADA_FORWARD_CREDENTIALS": forward}
        async with (
            UpstreamServer() as upstream,
            serve(tmp_path, upstream, limited(requests_per_minute=5), environ) as services,
        ):
            await index(services, "acme")
            asked = [services.agent.Execute(question(retrieval=HANDBOOK)) for _ in range(4)]
            assert [await outcome(call) for call in asked] == [None] * 4
            stream = execution.StreamExecuteRequest(context=ACME, message="Capital?")
            assert await outcome(services.agent.StreamExecute(stream)) is Reason.LIMIT_EXCEEDED
            direct = query.QueryRequest(context=ACME, message="Capital?")
            assert await outcome(services.query.Query(direct)) is Reason.LIMIT_EXCEEDED


async def test_the_tokens_of_chat_and_of_embedding_count_together(tmp_path: Path) -> None:
    """Ten for each answer, five for each embedding, as the provider reports them."""
    with ValkeyServer() as server:
        environ = {"CASCADA_LIMITS_URL": server.url, "CASCADA_MAX_TOKENS": "10"}
        document = limited(tokens_per_minute=4000)
        async with (
            UpstreamServer() as upstream,
            serve(tmp_path, upstream, document, environ) as services,
        ):
            await index(services, "acme")
            asked = 0
            while await outcome(services.agent.Execute(question(retrieval=HANDBOOK))) is None:
                asked += 1
    # A question is let in while it could use what it is estimated to: passages, and its answer.
    assert 4000 - 5 - 5 * 250 - 200 <= asked * 15 <= 4000


async def test_the_tokens_of_an_indexing_count_where_it_embeds(tmp_path: Path) -> None:
    async with (
        UpstreamServer() as upstream,
        serve(tmp_path, upstream, limited(tokens_per_minute=5)) as services,
    ):
        await index(services, "acme")
        request = embedding_service_pb2.EmbedRequest(context=ACME, texts=["word"])
        assert await outcome(services.embedding.Embed(request)) is Reason.LIMIT_EXCEEDED
        listing = query.ListDocumentsRequest(context=ACME, collection="handbook")
        assert await outcome(services.query.ListDocuments(listing)) is None  # it uses no tokens


SERVED = {
    "cascada.embedding.v1.EmbeddingService": embedding.app.build,
    "cascada.query.v1.QueryService": query_app.build,
    "cascada.agent_execution.v1.AgentExecutionService": agent_execution.app.build,
}


def methods() -> Iterator[tuple[Build, MethodDescriptor]]:
    for name, build in SERVED.items():
        for service in (name, "cascada.config.v1.ConfigurationService"):
            found = descriptor_pool.Default().FindServiceByName(service)
            for method in found.methods:
                yield build, method


@pytest.mark.parametrize(
    ("build", "method"),
    [pytest.param(build, method, id=method.full_name) for build, method in methods()],
)
async def test_no_call_is_without_limits(
    build: Build, method: MethodDescriptor, tmp_path: Path
) -> None:
    path = tmp_path / "cascada.json"
    path.write_text('{"policy": {"limits": {"requests_per_minute": 1}}}')
    environ = {"CASCADA_CONFIG_FILE": str(path), "CASCADA_DATA_DIR": str(tmp_path)}
    environ |= {"CASCADA_CHAT_PROVIDER": "openai", "CASCADA_EMBEDDING_PROVIDER": "openai"}
    async with running(build, environ) as service:
        reasons = [await _reason(service.channel, method) for _ in range(2)]
    assert reasons[0] is not Reason.LIMIT_EXCEEDED
    assert reasons[1] is Reason.LIMIT_EXCEEDED


async def _reason(channel: grpc.aio.Channel, method: MethodDescriptor) -> Reason | None:
    request = message_factory.GetMessageClass(method.input_type)()
    context = context_of(request)
    assert context is not None
    context.tenant_id = "acme"
    path = f"/{method.containing_service.full_name}/{method.name}"
    serializer = type(request).SerializeToString
    if method.client_streaming:
        make: Any = channel.stream_stream(path, request_serializer=serializer)
        call = make(iter([request]), timeout=20)
    elif method.server_streaming:
        make = channel.unary_stream(path, request_serializer=serializer)
        call = make(request, timeout=20)
    else:
        make = channel.unary_unary(path, request_serializer=serializer)
        call = make(request, timeout=20)
    return await outcome(call)
