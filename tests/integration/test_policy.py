"""Policy over all services: what it refuses, skips and lets through, and that changes hold soon."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as execution
from cascada.common.v1 import error_reason_pb2, request_context_pb2, retrieval_pb2
from cascada.config.v1 import (
    configuration_service_pb2,
    model_configuration_pb2,
    model_provider_pb2,
)
from cascada.config.v1 import configuration_trace_pb2 as trace
from cascada.config.v1.configuration_service_pb2_grpc import ConfigurationServiceStub
from cascada.embedding.v1 import embedding_service_pb2
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as query

import agent_execution.app
from config_core.errors import CascadaError, Reason
from config_core.model_configuration import ModelProvider
from tests.faults.services import Services, serve
from tests.unit.service_core.running import caught, running
from tests.upstream.behaviours import Answer, Status
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.server import UpstreamServer

ACME = request_context_pb2.RequestContext(tenant_id="acme")
RULES = "tenants.acme.policy"
Wire = model_configuration_pb2.ModelConfiguration
OPENAI = model_provider_pb2.MODEL_PROVIDER_OPENAI
GROQ = model_provider_pb2.MODEL_PROVIDER_GROQ
MISTRAL = model_provider_pb2.MODEL_PROVIDER_MISTRAL


def of_acme(**policy: Any) -> dict[str, Any]:
    return {"tenants": {"acme": {"policy": policy}}}


def only_mistral(received: Received) -> Behaviour:
    return Answer() if received.provider is ModelProvider.MISTRAL else Status(503)


async def refused(call: Any) -> CascadaError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    error = caught(raised.value)
    assert error.code_reason is Reason.POLICY_VIOLATION
    return error


async def index(services: Services) -> None:
    options = document_pb2.IndexOptions(context=ACME, collection="handbook")
    document = document_pb2.Document(document_id="one", text="Paris is the capital of France.")

    async def sent() -> AsyncIterator[query.IndexDocumentsRequest]:
        yield query.IndexDocumentsRequest(options=options)
        yield query.IndexDocumentsRequest(document=document)

    async for _ in services.query.IndexDocuments(sent(), timeout=20):
        pass


def searching(mode: Any, **more: Any) -> query.SearchRequest:
    retrieval = retrieval_pb2.Retrieval(collections=["handbook"], mode=mode, **more)
    return query.SearchRequest(context=ACME, query="capital", retrieval=retrieval)


@pytest.mark.parametrize("target", ["agent", "query", "embedding"])
async def test_each_service_refuses_a_provider_that_is_not_allowed(
    target: str, tmp_path: Path
) -> None:
    configuration = Wire(chat_provider=GROQ, embedding_provider=MISTRAL)
    fields: Any = {"context": ACME, "model_configuration": configuration}
    document = of_acme(providers=["openai"])
    async with UpstreamServer() as upstream, serve(tmp_path, upstream, document) as services:
        calls: Mapping[str, Callable[[], Any]] = {
            "agent": lambda: services.agent.Execute(
                execution.ExecuteRequest(message="x", **fields), timeout=20
            ),
            "query": lambda: services.query.Query(
                query.QueryRequest(message="x", **fields), timeout=20
            ),
            "embedding": lambda: services.embedding.Embed(
                embedding_service_pb2.EmbedRequest(texts=["x"], **fields), timeout=20
            ),
        }
        error = await refused(calls[target]())
        assert upstream.requests == []
    assert error.metadata["rule"] == f"{RULES}.providers"
    assert error.violations[0].field.startswith("model_configuration.")


async def test_an_alternative_that_is_not_allowed_stands_in_the_attempts(tmp_path: Path) -> None:
    alternatives = [{"provider": "groq"}, {"provider": "mistral"}]
    document = of_acme(providers=["openai", "mistral"])
    document["defaults"] = {"fallbacks": {"alternatives": alternatives}, "retry_attempts": 0}
    async with UpstreamServer() as upstream, serve(tmp_path, upstream, document) as services:
        upstream.choose = only_mistral
        asked = execution.ExecuteRequest(context=ACME, message="x")
        response = await services.agent.Execute(asked, timeout=20)
    attempts = response.configuration_trace.hops[-1].attempts
    skipped = next(each for each in attempts if each.provider == GROQ)
    assert skipped.outcome == trace.ATTEMPT_OUTCOME_SKIPPED
    assert skipped.reason == error_reason_pb2.ERROR_REASON_POLICY_VIOLATION
    assert f"{RULES}.providers" in skipped.detail
    assert [each.provider for each in attempts if each is not skipped] == [OPENAI, MISTRAL]


async def test_a_search_in_a_space_that_is_not_allowed_is_refused_and_one_of_words_is_not(
    tmp_path: Path,
) -> None:
    async with UpstreamServer() as upstream, serve(tmp_path, upstream) as services:
        await index(services)
    document = of_acme(models={"openai": {"embedding": ["nothing-of-the-kind"]}})
    async with UpstreamServer() as upstream, serve(tmp_path, upstream, document) as services:
        dense = searching(retrieval_pb2.RETRIEVAL_MODE_DENSE)
        error = await refused(services.query.Search(dense, timeout=20))
        words = searching(retrieval_pb2.RETRIEVAL_MODE_FULL_TEXT)
        found = await services.query.Search(words, timeout=20)
        assert upstream.requests == []
    assert error.metadata["rule"] == f"{RULES}.models.openai.embedding"
    assert error.violations[0].field == "retrieval.collections"
    assert [hit.document_id for hit in found.hits] == ["one"]


async def test_words_are_found_where_own_keys_are_required(tmp_path: Path) -> None:
    async with UpstreamServer() as upstream, serve(tmp_path, upstream) as services:
        await index(services)
    document = of_acme(own_keys="required")
    async with UpstreamServer() as upstream, serve(tmp_path, upstream, document) as services:
        words = searching(retrieval_pb2.RETRIEVAL_MODE_FULL_TEXT)
        assert (await services.query.Search(words, timeout=20)).hits
        dense = searching(retrieval_pb2.RETRIEVAL_MODE_DENSE)
        error = await refused(services.query.Search(dense, timeout=20))
    assert error.metadata["rule"] == f"{RULES}.own_keys"


async def test_a_ceiling_on_passages_holds_at_the_entry_and_behind_it(tmp_path: Path) -> None:
    document = of_acme(bounds={"top_k": {"max": 2}})
    async with UpstreamServer() as upstream, serve(tmp_path, upstream, document) as services:
        await index(services)
        for top_k, allowed in ((2, True), (3, False)):
            search = searching(retrieval_pb2.RETRIEVAL_MODE_DENSE, top_k=top_k)
            asked = execution.ExecuteRequest(context=ACME, message="x", retrieval=search.retrieval)
            for call in (services.query.Search(search), services.agent.Execute(asked)):
                if allowed:
                    await call
                    continue
                error = await refused(call)
                assert error.metadata["rule"] == f"{RULES}.bounds.top_k"


async def test_resolve_configuration_shows_what_policy_says(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    policy = {"providers": ["openai"], "own_keys": "forbidden", "bounds": {"top_p": {"max": 0.5}}}
    path.write_text(json.dumps(of_acme(**policy)))
    request = configuration_service_pb2.ResolveConfigurationRequest(
        context=ACME,
        model_configuration=Wire(chat_provider=GROQ, chat_api_key="gsk-own", top_p=0.6),
    )
    async with running(agent_execution.app.build, {"CASCADA_CONFIG_FILE": str(path)}) as service:
        stub = ConfigurationServiceStub(service.channel)
        response = await stub.ResolveConfiguration(request, timeout=20)
    reasons = {violation.reason for violation in response.violations}
    assert reasons == {error_reason_pb2.ERROR_REASON_POLICY_VIOLATION}
    found = {violation.field: violation.description for violation in response.violations}
    expected: Mapping[str, str] = {
        "model_configuration.chat_provider": f"{RULES}.providers",
        "default.embedding_provider": f"{RULES}.providers",
        "model_configuration.chat_api_key": f"{RULES}.own_keys",
        "model_configuration.top_p": f"{RULES}.bounds.top_p",
    }
    assert found.keys() == expected.keys()
    for field, rule in expected.items():
        assert f"(policy rule {rule})" in found[field]


async def test_a_policy_that_changes_under_load_fails_no_request_and_soon_holds(
    tmp_path: Path,
) -> None:
    """Half of the requests are allowed under either policy; of the others each has its time."""
    before, after = of_acme(providers=["openai"]), of_acme(providers=["openai", "groq"])
    codes: dict[int, list[grpc.StatusCode]] = {OPENAI: [], GROQ: []}
    async with UpstreamServer() as upstream, serve(tmp_path, upstream, before) as services:
        over = asyncio.Event()

        async def ask(provider: model_provider_pb2.ModelProvider.ValueType) -> None:
            configuration = Wire(chat_provider=provider)
            request = execution.ExecuteRequest(
                context=ACME, message="x", model_configuration=configuration
            )
            while not over.is_set():
                try:
                    await services.agent.Execute(request, timeout=20)
                except grpc.aio.AioRpcError as error:
                    codes[provider].append(error.code())
                else:
                    codes[provider].append(grpc.StatusCode.OK)

        asking = [asyncio.create_task(ask(provider)) for provider in (OPENAI, GROQ)]
        watches = [asyncio.create_task(each.watch()) for each in services.snapshots]
        async with asyncio.timeout(20):
            while len(codes[GROQ]) < 5:  # noqa: ASYNC110 # nobody tells
                await asyncio.sleep(0.01)
            (tmp_path / "cascada.json").write_text(json.dumps(after))
            while codes[GROQ].count(grpc.StatusCode.OK) < 5:  # noqa: ASYNC110 # the same
                await asyncio.sleep(0.01)
        over.set()
        for task in watches:
            task.cancel()
        await asyncio.gather(*asking)
        await asyncio.wait(watches)
    assert set(codes[OPENAI]) == {grpc.StatusCode.OK}
    assert set(codes[GROQ]) == {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.OK}
    first = codes[GROQ].index(grpc.StatusCode.OK)
    assert grpc.StatusCode.PERMISSION_DENIED in codes[GROQ][:first]
