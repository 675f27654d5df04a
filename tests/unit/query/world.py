"""The query service without its neighbours: a real store, and models that answer predictably."""

import asyncio
import hashlib
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cascada.query.v1.query_service_pb2_grpc import (
    QueryServiceStub,
    add_QueryServiceServicer_to_server,
)
from numpy.typing import NDArray

from config_core import convert, convert_provenance
from config_core.errors import Reason, RemoteError
from config_core.model_configuration import ModelProvider
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshots
from config_core.sources import environment
from config_core.space import EmbeddingSpace
from query.answer import Answer, AnswerEvent
from query.catalog import Catalog
from query.embedding_client import Embedded
from query.embedding_spaces import EmbeddingSpaces
from query.extraction.extractor import Extractor
from query.indexer import Indexer
from query.indexing import DocumentResult as Result
from query.indexing import IndexOptions, IndexSummary, SourceDocument
from query.prompt_room import PromptRoom
from query.prompt_template import PromptTemplate
from query.prompting import Prompter
from query.providers.model import (
    ChatCall,
    ChatResult,
    Finished,
    FinishReason,
    StreamPart,
    TextDelta,
    ToolCall,
)
from query.providers.port import ChatProvider
from query.question import Question
from query.reindexer import Reindexer
from query.reranking import Reranker
from query.retrieval import Retrieval, Retrieved
from query.retriever import Retriever
from query.service import QueryService
from query.servicer import QueryServicer
from query.store import Store
from service_core.channel import create_channel
from service_core.interceptors import ErrorInterceptor
from service_core.request_context import Peers, RequestContext
from service_core.server import GrpcServer
from service_core.telemetry import Metrics
from service_core.trace import HopReport, RemoteHop, Tracer
from service_core.upstream.clients import ClientPool
from service_core.upstream.monitor import UpstreamMonitor
from service_core.usage import Usage
from tests.unit.config_core.support import asked

NOTHING_FOUND = "No hay nada sobre eso."
TENANT = "acme"
KEYS = {"OPENAI_API_KEY": "sk-openai", "MISTRAL_API_KEY": "sk-mistral"}
E5 = EmbeddingSpace(ModelProvider.LOCAL, "multilingual-e5-small", 384, "e5")
OTHER: dict[str, Any] = {"embedding_provider": "openai", "embedding_model": "tiny"}
"""Embedding fields of a second space, of 32 dimensions."""
OTHER_SPACE = EmbeddingSpace(ModelProvider.OPENAI, "tiny", 32)

CITIES = {
    "madrid": "Madrid es la capital de España. La ciudad está en el centro del país.",
    "paris": "París es la capital de Francia. El río Sena cruza la ciudad.",
    "berlin": "Berlin is the capital of Germany. The Spree flows through it.",
    "roma": "Roma es la capital de Italia. El Coliseo es su monumento más famoso.",
}


@lru_cache(maxsize=4096)
def _word(word: str, space: str, dimensions: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(f"{space}/{word}".encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(dimensions)


def vector_of(text: str, space: EmbeddingSpace) -> bytes:
    """The sum of a random direction for each word: texts that share words are similar."""
    words = re.findall(r"\w+", text.lower()) or [text]
    total = np.sum([_word(word, space.model, space.dimensions) for word in words], axis=0)
    return bytes(np.asarray(total, dtype="<f4").tobytes())


async def _nothing(texts: Sequence[str]) -> None:
    """What happens before an embedding, unless a test says otherwise."""


@dataclass
class FakeEmbeddings:
    """Stands for the embedding service: resolves what is forwarded as that does."""

    snapshots: Snapshots
    before: Callable[[Sequence[str]], Awaitable[None]] = _nothing
    calls: list[tuple[EmbeddingSpace, list[str], bool]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0
    remaining: list[float] = field(default_factory=list)
    """How many seconds each call was left."""
    answers_in: EmbeddingSpace | None = None
    """The space of its vectors, where it is not the one that was asked for."""

    @property
    def texts(self) -> list[str]:
        """Every text so far."""
        return [text for _, texts, _ in self.calls for text in texts]

    async def embed(
        self,
        texts: Sequence[str],
        *,
        query: bool,
        forwarded: Any,
        context: RequestContext,
        deadline: Any,
    ) -> Embedded:
        """Embed."""
        incoming = convert_provenance.incoming(
            convert.to_wire(forwarded.configuration),
            wire_provenance=convert_provenance.provenance_to_wire(forwarded),
            trusted=True,
        )
        effective = self.snapshots.current.resolve(
            "embedding", context.tenant_id, incoming
        ).require()
        space = self.answers_in or effective.space or effective.space_of(32)
        self.calls.append((space, list(texts), query))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.remaining.append(deadline.remaining())
        try:
            if deadline.expired:
                raise RemoteError(Reason.BUDGET_SPENT, "The deadline passed.")
            await asyncio.sleep(0)
            await self.before(texts)
        except asyncio.CancelledError:
            self.cancelled += 1
            for _ in range(10):
                await asyncio.sleep(0)  # as a call that has to be taken back
            raise
        finally:
            self.running -= 1
        hop = HopReport("embedding", effective, 0.001, space=space)
        return Embedded(
            [vector_of(text, space) for text in texts],
            space,
            Usage(input_tokens=len(texts)),
            tuple(Tracer().to_wire([hop]).hops),
        )


Part = StreamPart | Exception
DONE = Finished(FinishReason.STOP, Usage(7, 3), "some-model-1", "req-1")
MADRID: tuple[Part, ...] = (TextDelta("Es "), TextDelta("Madrid [1]."), DONE)


class FakeChat:
    """A chat provider that gives scripted parts, one script a call, and notes what it is sent."""

    def __init__(self) -> None:
        self.calls: list[ChatCall] = []
        self.scripts: deque[Sequence[Part]] = deque()
        self.open_streams = 0
        self.called = asyncio.Event()
        self.hold_after: int | None = None
        """After how many parts a stream falls silent; never by default."""

    def script(self, *parts: Part) -> None:
        """Give these parts to the next call that has no script yet."""
        self.scripts.append(parts)

    async def complete(self, call: ChatCall) -> ChatResult:
        """Answer with all parts at once."""
        texts: list[str] = []
        calls: list[ToolCall] = []
        async for part in self.stream(call):
            if isinstance(part, Finished):
                return ChatResult(
                    "".join(texts),
                    part.finish_reason,
                    part.usage,
                    part.model,
                    tuple(calls),
                    part.request_id,
                )
            if isinstance(part, TextDelta):
                texts.append(part.text)
            else:
                calls.append(ToolCall(part.id, part.name, part.arguments))
        raise AssertionError("a script ends with Finished or an error")

    async def stream(self, call: ChatCall) -> AsyncGenerator[StreamPart, None]:
        """Answer part by part."""
        self.calls.append(call)
        parts = self.scripts.popleft() if self.scripts else MADRID
        self.open_streams += 1
        self.called.set()
        try:
            for index, part in enumerate(parts):
                if index == self.hold_after:
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.open_streams -= 1

    async def aclose(self) -> None:
        """Hold nothing."""


def pieces(call: ChatCall) -> str:
    """Everything that the model was told, as one text."""
    return "\n".join(message.text for message in call.messages)


class World:
    """The parts of the query service, wired over a store of the test's own."""

    def __init__(self, folder: Path, store: Store, environ: dict[str, str] | None = None) -> None:
        variables = KEYS if environ is None else environ
        self._file = folder / "cascada.json"
        self._file.write_text("{}", encoding="utf-8")
        self.store = store
        self.snapshots = Snapshots(self._file, environment.read(variables), LocalSecrets(variables))
        self.embeddings = FakeEmbeddings(self.snapshots)
        self.local, self.openai, self.mistral = FakeChat(), FakeChat(), FakeChat()
        self.groq = FakeChat()
        self.providers: dict[ModelProvider, ChatProvider] = {
            ModelProvider.LOCAL: self.local,
            ModelProvider.OPENAI: self.openai,
            ModelProvider.MISTRAL: self.mistral,
            ModelProvider.GROQ: self.groq,
        }
        self.spaces = EmbeddingSpaces(store, self.embeddings)
        self.retriever = Retriever(store, self.spaces)
        self.extractor = Extractor()
        self.indexer = Indexer(self.snapshots, store, self.embeddings, self.extractor)
        self.reindexer = Reindexer(self.snapshots, store, self.embeddings)
        self.catalog = Catalog(store)
        self.room = PromptRoom(max_context_tokens=2000, local_context_tokens=1000)
        self.small_local_model = True
        self.template = PromptTemplate()
        self.count_local_tokens: Callable[[str], int] = lambda text: len(text.split())

    @property
    def service(self) -> QueryService:
        """The service over the parts as they are now."""
        upstream = UpstreamMonitor("query", Metrics(), ClientPool())
        small = self.small_local_model
        return QueryService(
            self.snapshots,
            self.providers,
            self.retriever,
            Reranker(self.providers, upstream, self.room, small_local_model=small),
            Prompter(
                self.room,
                self.template,
                count_local_tokens=self.count_local_tokens,
                small_local_model=small,
            ),
            upstream,
            NOTHING_FOUND,
        )

    def configure(self, **document: Any) -> None:
        """Change the configuration file, and take it."""
        self._file.write_text(json.dumps(document), encoding="utf-8")
        assert self.snapshots.reload(), "the file is refused"

    def options(self, collection: str = "cities", **values: Any) -> IndexOptions:
        """The options of a stream of documents; `values` is the model configuration."""
        return IndexOptions(RequestContext(TENANT), collection, asked(values), None)

    async def index(
        self,
        documents: Iterable[SourceDocument],
        options: IndexOptions | None = None,
    ) -> tuple[list[Result], IndexSummary]:
        """Index to the end."""
        found = [
            event
            async for event in self.indexer.index(options or self.options(), stream(documents))
        ]
        *results, summary = found
        assert isinstance(summary, IndexSummary)
        return [result for result in results if isinstance(result, Result)], summary

    async def consume(self, documents: AsyncIterator[SourceDocument]) -> None:
        """Index what is read one after another, and let the results go."""
        async with aclosing(self.indexer.index(self.options(), documents)) as events:
            async for _ in events:
                pass

    async def fill(self, collection: str = "cities", **values: Any) -> None:
        """Index the cities, with their names as metadata, and forget the calls."""
        documents = [
            SourceDocument(name, text, title=name.title(), metadata={"name": name})
            for name, text in CITIES.items()
        ]
        results, _ = await self.index(documents, self.options(collection, **values))
        assert {result.detail for result in results} == {""}
        self.embeddings.calls.clear()

    def question(
        self,
        message: str = "¿Cuál es la capital de España?",
        *collections: str,
        values: dict[str, Any] | None = None,
        retrieval: Retrieval | None = None,
        **other: Any,
    ) -> Question:
        """A question, answered from the collections that are named."""
        if retrieval is None and collections:
            retrieval = Retrieval(collections)
        return Question(
            RequestContext(TENANT), message, asked(values), None, retrieval=retrieval, **other
        )

    async def query(self, message: str = "", *collections: str, **options: Any) -> Answer:
        """Ask, and give the whole answer."""
        question = self.question(
            message or "¿Cuál es la capital de España?", *collections, **options
        )
        return await self.service.query(question)

    async def streamed(
        self, message: str = "", *collections: str, **options: Any
    ) -> list[AnswerEvent]:
        """Ask, and give all events."""
        question = self.question(
            message or "¿Cuál es la capital de España?", *collections, **options
        )
        return [event async for event in self.service.stream_query(question)]

    async def search(
        self,
        query: str,
        *collections: str,
        values: dict[str, Any] | None = None,
        tenant: str = TENANT,
        **options: Any,
    ) -> Retrieved:
        """Search."""
        retrieval = Retrieval(collections or ("cities",), **options)
        return await self.service.search(
            query, retrieval, RequestContext(tenant), asked(values), None
        )


async def stream(documents: Iterable[SourceDocument]) -> AsyncIterator[SourceDocument]:
    """The documents, one after another."""
    for document in documents:
        await asyncio.sleep(0)
        yield document


def hop_of(hop: object) -> tuple[str, str]:
    """Service and operation of a report, ours or the next service's."""
    if isinstance(hop, HopReport):
        return hop.service, hop.effective.kind
    assert isinstance(hop, RemoteHop)
    return hop.service, "embedding"


@asynccontextmanager
async def serving(world: World) -> AsyncIterator["QueryServiceStub"]:
    """Serve on a free port, and give a stub for it."""
    tracer = Tracer()
    async with AsyncExitStack() as stack:
        server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor(tracer.of_error)])
        server.add(
            "cascada.query.v1.QueryService",
            add_QueryServiceServicer_to_server,
            QueryServicer(
                world.service, world.indexer, world.reindexer, world.catalog, Peers(), tracer
            ),
        )
        await server.start()
        stack.push_async_callback(server.stop, 0)
        channel: grpc.aio.Channel = await stack.enter_async_context(
            create_channel(f"127.0.0.1:{server.port}")
        )
        yield QueryServiceStub(channel)
