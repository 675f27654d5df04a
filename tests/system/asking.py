"""What the system tests ask, index and compare."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from cascada.common.v1 import retrieval_pb2
from cascada.config.v1 import model_configuration_pb2
from cascada.query.v1 import document_pb2, query_service_pb2
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from config_core.model_configuration import ModelProvider
from tests.system.cluster import CALL_SECONDS
from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Exchange
from tests.upstream.formats import NATIVE_DIMENSIONS
from tests.upstream.server import UpstreamServer

COLLECTION = "countries"
TEXTS: Mapping[str, str] = {
    "france": "Paris is the capital of France. The Seine flows through it.",
    "italia": "Roma es la capital de Italia. El Tíber la atraviesa.",
    "poland": "Warsaw is the capital of Poland. The Vistula flows through it.",
}

UPSTREAM_MODELS: Mapping[str, str] = {
    "CASCADA_CHAT_PROVIDER": "openai",
    "CASCADA_EMBEDDING_PROVIDER": "openai",
    "CASCADA_EMBEDDING_DIMENSIONS": str(NATIVE_DIMENSIONS),
}
"""Models of a provider, so that none has to be loaded."""

_VARYING = frozenset({"duration", "wait"})


def base_urls(upstream: UpstreamServer) -> dict[str, str]:
    """The variables that send each provider's calls to the test's server."""
    providers = (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
    return {f"{name.upper()}_BASE_URL": upstream.url(name) for name in providers}


def comparable(message: Message) -> Any:
    """A message as JSON, without what differs from one run to the next."""
    return _without_varying(MessageToDict(message, always_print_fields_with_no_presence=True))


def _without_varying(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_varying(at) for key, at in value.items() if key not in _VARYING}
    if isinstance(value, list):
        return [_without_varying(item) for item in value]
    return value


def searched(*collections: str, top_k: int = 5) -> retrieval_pb2.Retrieval:
    """Retrieval over these collections."""
    return retrieval_pb2.Retrieval(collections=collections or [COLLECTION], top_k=top_k)


async def index(
    stub: QueryServiceStub,
    texts: Mapping[str, str],
    collection: str = COLLECTION,
    configuration: model_configuration_pb2.ModelConfiguration | None = None,
    **options: Any,
) -> AsyncIterator[query_service_pb2.IndexDocumentsResponse]:
    """Index the texts by their ids; what the service answers, as it comes."""

    def requests() -> Iterator[query_service_pb2.IndexDocumentsRequest]:
        yield query_service_pb2.IndexDocumentsRequest(
            options=document_pb2.IndexOptions(
                collection=collection, model_configuration=configuration, **options
            )
        )
        for name, text in texts.items():
            document = document_pb2.Document(document_id=name, text=text)
            yield query_service_pb2.IndexDocumentsRequest(document=document)

    call = stub.IndexDocuments(requests(), timeout=CALL_SECONDS)
    try:
        async for response in call:
            yield response
    finally:
        call.cancel()


async def index_all(
    stub: QueryServiceStub,
    texts: Mapping[str, str] = TEXTS,
    collection: str = COLLECTION,
    configuration: model_configuration_pb2.ModelConfiguration | None = None,
) -> document_pb2.IndexSummary:
    """Index the texts; the summary, of which none failed."""
    answers = [answer async for answer in index(stub, texts, collection, configuration)]
    assert all(not answer.result.detail for answer in answers), answers
    return answers[-1].summary


@dataclass
class Paced:
    """Answers well, and a stream piece by piece: each only after `release` was called once more."""

    def __post_init__(self) -> None:
        self._released = asyncio.Semaphore(0)

    def release(self, count: int = 1) -> None:
        """Let the next pieces go."""
        for _ in range(count):
            self._released.release()

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer as released; what is not a stream waits for one release."""
        answer = Answer()
        if exchange.received.operation == "embeddings":
            return await answer.respond(exchange)
        if not exchange.streams:
            await self._released.acquire()
            return await answer.respond(exchange)
        response = await exchange.begin()
        for frame in answer.frames(exchange):
            if b'"delta": {"content": ' in frame:
                await self._released.acquire()
            await response.write(frame)
        await response.write_eof()
        return response
