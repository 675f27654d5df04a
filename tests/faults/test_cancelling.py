"""A client that goes away takes its request at the provider with it.

How fast is measured by `python -m bench cancel`; here the order and a bounded wait are enough.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.common.v1 import retrieval_pb2
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from cascada.embedding.v1 import embedding_service_pb2
from cascada.query.v1 import query_service_pb2

from config_core.convert import provider_to_wire
from config_core.model_configuration import ModelProvider
from tests.faults.replies import CALL_SECONDS
from tests.faults.services import PROVIDERS, Services
from tests.system.asking import COLLECTION, index_all
from tests.system.waiting import until
from tests.upstream.behaviours import Broken, Silence, Status
from tests.upstream.exchange import Received
from tests.upstream.server import UpstreamServer

WAIT_SECONDS = 15.0
MESSAGE = "¿Qué tal?"

pytestmark = pytest.mark.usefixtures("_nothing_is_left")


@pytest.fixture
async def _nothing_is_left(services: Services) -> AsyncIterator[None]:
    """Whatever the test cancels, no client of a provider stays leased."""
    yield
    await until(lambda: services.leases() == 0, "the leases to be given back")


@pytest.fixture(params=PROVIDERS, ids=str)
def provider(request: pytest.FixtureRequest) -> ModelProvider:
    chosen: ModelProvider = request.param
    return chosen


def chat_with(provider: ModelProvider, **fields: Any) -> ModelConfiguration:
    return ModelConfiguration(chat_provider=provider_to_wire(provider), **fields)


def execute(services: Services, configuration: ModelConfiguration) -> Any:
    request = pb.ExecuteRequest(message=MESSAGE, model_configuration=configuration)
    return services.agent.Execute(request, timeout=CALL_SECONDS)


def stream_execute(services: Services, configuration: ModelConfiguration) -> Any:
    request = pb.StreamExecuteRequest(message=MESSAGE, model_configuration=configuration)
    return services.agent.StreamExecute(request, timeout=CALL_SECONDS)


async def gone(received: Received) -> bool:
    """Whether the client of a request goes away before it has its answer."""
    async with asyncio.timeout(WAIT_SECONDS):
        await received.over.wait()
    return received.left


@pytest.mark.parametrize("silence", [Silence(), Silence(headers=True)], ids=["before", "after"])
@pytest.mark.parametrize("call", [execute, stream_execute])
async def test_a_cancelled_call_leaves_a_provider_that_is_silent(
    provider: ModelProvider,
    call: Callable[..., Any],
    silence: Silence,
    services: Services,
    upstream: UpstreamServer,
) -> None:
    upstream.default = silence
    asked = call(services, chat_with(provider))
    waiting = asyncio.ensure_future(asked.read() if call is stream_execute else asked.code())
    received = await upstream.received()
    assert not received.over.is_set()
    asked.cancel()
    assert await gone(received)
    waiting.cancel()


async def test_a_cancelled_stream_leaves_the_provider_in_the_middle(
    provider: ModelProvider, services: Services, upstream: UpstreamServer
) -> None:
    upstream.default = Broken("stall")
    asked = stream_execute(services, chat_with(provider))
    assert (await asked.read()).delta
    received = await upstream.received()
    assert not received.over.is_set()
    asked.cancel()
    assert await gone(received)


async def test_a_deadline_that_passes_leaves_the_provider(
    provider: ModelProvider, services: Services, upstream: UpstreamServer
) -> None:
    upstream.default = Silence()
    request = pb.ExecuteRequest(message=MESSAGE, model_configuration=chat_with(provider))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await services.agent.Execute(request, timeout=1.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await gone(await upstream.received())


async def test_nothing_is_asked_again_once_the_call_is_cancelled(
    provider: ModelProvider, services: Services, upstream: UpstreamServer
) -> None:
    upstream.default = Status(503, headers={"Retry-After": "1"})
    asked = execute(services, chat_with(provider))
    await (await upstream.received()).over.wait()
    await until(lambda: services.leases() == 0, "the wait before the next attempt")
    asked.cancel()
    # A request that has to wait as long says when the cancelled one would have come.
    other = stream_execute(services, chat_with(provider))
    asking = asyncio.ensure_future(other.read())
    await upstream.received(3)
    other.cancel()
    asking.cancel()
    assert [received.operation for received in upstream.requests] == ["chat", "stream", "stream"]


@pytest.mark.parametrize("provider", [ModelProvider.OPENAI, ModelProvider.MISTRAL], ids=str)
async def test_a_cancelled_embed_leaves_the_provider(
    provider: ModelProvider, services: Services, upstream: UpstreamServer
) -> None:
    upstream.default = Silence()
    configuration = ModelConfiguration(embedding_provider=provider_to_wire(provider))
    request = embedding_service_pb2.EmbedRequest(texts=[MESSAGE], model_configuration=configuration)
    asked = services.embedding.Embed(request, timeout=CALL_SECONDS)
    waiting = asyncio.ensure_future(asked.code())
    received = await upstream.received()
    asked.cancel()
    assert await gone(received)
    await waiting


async def test_a_cancelled_search_leaves_the_provider_two_hops_away(
    services: Services, upstream: UpstreamServer
) -> None:
    await index_all(services.query)
    upstream.default = Silence()
    before = len(upstream.requests)
    asked = services.query.Search(
        query_service_pb2.SearchRequest(
            query=MESSAGE, retrieval=retrieval_pb2.Retrieval(collections=[COLLECTION])
        ),
        timeout=CALL_SECONDS,
    )
    waiting = asyncio.ensure_future(asked.code())
    received = await upstream.received(before + 1)
    asked.cancel()
    assert await gone(received)
    await waiting


async def test_a_question_cancelled_in_its_retrieval_is_never_asked(
    services: Services, upstream: UpstreamServer
) -> None:
    await index_all(services.query)
    upstream.default = Silence()
    before = len(upstream.requests)
    request = pb.ExecuteRequest(
        message=MESSAGE, retrieval=retrieval_pb2.Retrieval(collections=[COLLECTION])
    )
    asked = services.agent.Execute(request, timeout=CALL_SECONDS)
    waiting = asyncio.ensure_future(asked.code())
    received = await upstream.received(before + 1)
    asked.cancel()
    assert await gone(received)
    await waiting
    assert [received.operation for received in upstream.requests[before:]] == ["embeddings"]
