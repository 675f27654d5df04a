"""Wiring of the query service: the one place where its parts meet."""

import asyncio
from contextlib import AsyncExitStack

from cascada.query.v1 import query_service_pb2_grpc

from config_core.model_configuration import ModelProvider
from config_core.sources.request import Incoming
from config_core.sources.tenant import DEFAULT_TENANT
from query.catalog import Catalog
from query.embedding_client import EmbeddingClient
from query.embedding_spaces import EmbeddingSpaces
from query.extraction.extractor import Extractor
from query.indexer import Indexer
from query.name import SERVICE
from query.prompt_room import PromptRoom
from query.prompt_template import read_template
from query.prompting import Prompter
from query.providers.groq import GroqChat
from query.providers.local import LocalChat
from query.providers.local_engine import LocalChatEngine
from query.providers.mistral import MistralChat
from query.providers.openai import OpenAIChat
from query.providers.port import ChatProvider
from query.reindexer import Reindexer
from query.reranking import Reranker
from query.retriever import Retriever
from query.service import QueryService
from query.servicer import QueryServicer
from query.store import open_store
from query.store.analysis import stem_cache
from service_core.process import Process
from service_core.readiness import serve_when_loaded
from service_core.server import GrpcServer
from service_core.telemetry.caches import show_cache
from service_core.upstream.clients import ClientPool, Transport
from service_core.upstream.monitor import UpstreamMonitor

NAME = "cascada.query.v1.QueryService"


async def build(process: Process, stack: AsyncExitStack) -> GrpcServer:
    """Start the query service; it says SERVING once its local model is loaded."""
    settings = process.settings
    template = await asyncio.to_thread(read_template, settings.prompt_template_file)
    store = await stack.enter_async_context(open_store(settings.store_url))
    target = settings.target_of("embedding")
    channel = await stack.enter_async_context(process.channel(target))
    embeddings = EmbeddingClient(channel, process.next_service("embedding", target))
    clients = ClientPool(
        transport=Transport(settings.provider_transport), allow_insecure=settings.allow_insecure
    )
    stack.push_async_callback(clients.aclose)
    upstream = UpstreamMonitor(SERVICE, process.metrics, clients, process.spans(SERVICE))
    show_cache(process.metrics.live, SERVICE, "stems", stem_cache)
    engine = LocalChatEngine(settings.local_chat_model_path)
    stack.push_async_callback(engine.close)
    providers: dict[ModelProvider, ChatProvider] = {
        ModelProvider.OPENAI: OpenAIChat(clients),
        ModelProvider.GROQ: GroqChat(clients),
        ModelProvider.MISTRAL: MistralChat(clients),
        ModelProvider.LOCAL: LocalChat(engine),
    }
    attach = settings.forward_credentials
    spaces = EmbeddingSpaces(store, embeddings, attach_credentials=attach)
    room = PromptRoom(settings.max_context_tokens, engine.context_tokens)
    small = settings.local_chat_model_path is None
    service = QueryService(
        process.snapshots,
        providers,
        Retriever(store, spaces),
        Reranker(providers, upstream, room, small_local_model=small),
        Prompter(
            room,
            template,
            count_local_tokens=engine.count_tokens,
            small_local_model=small,
        ),
        upstream,
        settings.nothing_found_answer,
    )
    extractor = Extractor()
    stack.push_async_callback(extractor.aclose)
    server = process.server(SERVICE, settings.query_port)
    server.add(
        NAME,
        query_service_pb2_grpc.add_QueryServiceServicer_to_server,
        QueryServicer(
            service,
            Indexer(process.snapshots, store, embeddings, extractor, attach_credentials=attach),
            Reindexer(process.snapshots, store, embeddings, attach_credentials=attach),
            Catalog(store),
            process.peers,
            process.tracer,
        ),
    )
    process.add_configuration(
        server,
        ["chat", "embedding"],
        calls=["chat"],
        pinned=spaces.pinned,
        circuits=upstream.circuits,
    )
    await server.start()
    stack.push_async_callback(server.stop, 0)
    by_default = process.snapshots.current.resolve("chat", DEFAULT_TENANT, Incoming())
    loads = by_default.effective.primary.connection.protocol is ModelProvider.LOCAL
    await serve_when_loaded(server, engine.load if loads else None, stack)
    return server
