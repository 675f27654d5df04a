"""Wiring of the query service: the one place where its parts meet."""

from contextlib import AsyncExitStack

from cascada.query.v1 import query_service_pb2_grpc

from config_core.model_configuration import ModelProvider
from config_core.sources.request import Incoming
from config_core.sources.tenant import DEFAULT_TENANT
from query.catalog import Catalog
from query.embedding_client import EmbeddingClient
from query.indexer import Indexer
from query.name import SERVICE
from query.prompting import Prompter
from query.providers.groq import GroqChat
from query.providers.local import LocalChat
from query.providers.local_engine import LocalChatEngine
from query.providers.mistral import MistralChat
from query.providers.openai import OpenAIChat
from query.providers.port import ChatProvider
from query.reindexer import Reindexer
from query.retriever import Retriever
from query.service import QueryService
from query.servicer import QueryServicer
from query.store import open_store
from service_core.channel import create_channel
from service_core.client import NextService
from service_core.process import Process
from service_core.readiness import serve_when_loaded
from service_core.server import GrpcServer
from service_core.upstream.clients import ClientPool, Transport
from service_core.upstream.monitor import UpstreamMonitor

NAME = "cascada.query.v1.QueryService"


async def build(process: Process, stack: AsyncExitStack) -> GrpcServer:
    """Start the query service; it says SERVING once its local model is loaded."""
    settings = process.settings
    store = await stack.enter_async_context(open_store(settings.store_url))
    target = settings.target_of("embedding")
    channel = await stack.enter_async_context(create_channel(target))
    embeddings = EmbeddingClient(
        channel, NextService("embedding", target, allow_insecure=settings.allow_insecure)
    )
    clients = ClientPool(transport=Transport(settings.provider_transport))
    stack.push_async_callback(clients.aclose)
    upstream = UpstreamMonitor(SERVICE, process.metrics, clients)
    engine = LocalChatEngine(settings.local_chat_model_path)
    stack.push_async_callback(engine.close)
    providers: dict[ModelProvider, ChatProvider] = {
        ModelProvider.OPENAI: OpenAIChat(clients),
        ModelProvider.GROQ: GroqChat(clients),
        ModelProvider.MISTRAL: MistralChat(clients),
        ModelProvider.LOCAL: LocalChat(engine),
    }
    attach = settings.forward_credentials
    retriever = Retriever(store, embeddings, attach_credentials=attach)
    prompter = Prompter(
        max_context_tokens=settings.max_context_tokens,
        local_context_tokens=engine.context_tokens,
        count_local_tokens=engine.count_tokens,
        small_local_model=settings.local_chat_model_path is None,
    )
    service = QueryService(
        process.snapshots, providers, retriever, prompter, upstream, settings.nothing_found_answer
    )
    server = process.server(SERVICE, settings.query_port)
    server.add(
        NAME,
        query_service_pb2_grpc.add_QueryServiceServicer_to_server,
        QueryServicer(
            service,
            Indexer(process.snapshots, store, embeddings, attach_credentials=attach),
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
        pinned=retriever.pinned,
        circuits=upstream.circuits,
    )
    await server.start()
    stack.push_async_callback(server.stop, 0)
    by_default = process.snapshots.current.resolve("chat", DEFAULT_TENANT, Incoming())
    loads = by_default.effective.primary.connection.protocol is ModelProvider.LOCAL
    await serve_when_loaded(server, engine.load if loads else None, stack)
    return server
