"""Wiring of the embedding service: the one place where its parts meet."""

from contextlib import AsyncExitStack

from cascada.embedding.v1 import embedding_service_pb2_grpc

from config_core.model_configuration import ModelProvider
from config_core.sources.request import Incoming
from config_core.sources.tenant import DEFAULT_TENANT
from embedding.providers.local import LocalEmbeddingProvider
from embedding.providers.mistral import MistralEmbedding
from embedding.providers.openai import OpenAIEmbedding
from embedding.providers.port import EmbeddingProvider
from embedding.service import SERVICE, EmbeddingService
from embedding.servicer import EmbeddingServicer
from service_core.process import Process
from service_core.readiness import serve_when_loaded
from service_core.server import GrpcServer
from service_core.upstream.clients import ClientPool, Transport
from service_core.upstream.monitor import UpstreamMonitor

NAME = "cascada.embedding.v1.EmbeddingService"


async def build(process: Process, stack: AsyncExitStack) -> GrpcServer:
    """Start the embedding service; it says SERVING once its local model is loaded or has failed."""
    clients = ClientPool(
        transport=Transport(process.settings.provider_transport),
        allow_insecure=process.settings.allow_insecure,
    )
    stack.push_async_callback(clients.aclose)
    upstream = UpstreamMonitor(SERVICE, process.metrics, clients, process.spans(SERVICE))
    local = LocalEmbeddingProvider()
    stack.push_async_callback(local.aclose)
    providers: dict[ModelProvider, EmbeddingProvider] = {
        ModelProvider.OPENAI: OpenAIEmbedding(clients),
        ModelProvider.MISTRAL: MistralEmbedding(clients),
        ModelProvider.LOCAL: local,
    }
    service = EmbeddingService(process.snapshots, providers, upstream)
    server = process.server(SERVICE, process.settings.embedding_port)
    server.add(
        NAME,
        embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
        EmbeddingServicer(service, process.peers, process.tracer),
    )
    process.add_configuration(
        server, ["embedding"], calls=["embedding"], circuits=upstream.circuits
    )
    await server.start()
    stack.push_async_callback(server.stop, 0)
    by_default = process.snapshots.current.resolve("embedding", DEFAULT_TENANT, Incoming())
    loads = by_default.effective.primary.connection.protocol is ModelProvider.LOCAL
    await serve_when_loaded(server, local.load if loads else None, stack)
    return server
