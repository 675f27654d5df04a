"""Wiring of the agent execution service: the one place where its parts meet."""

from contextlib import AsyncExitStack

from cascada.agent_execution.v1 import agent_execution_service_pb2_grpc

from agent_execution.query_client import QueryClient
from agent_execution.service import SERVICE, ExecutionService
from agent_execution.servicer import AgentExecutionServicer, Service
from service_core.process import Process
from service_core.readiness import serve_when_loaded
from service_core.server import GrpcServer

NAME = "cascada.agent_execution.v1.AgentExecutionService"


async def build(process: Process, stack: AsyncExitStack) -> GrpcServer:
    """Start the agent execution service; it holds no model and says SERVING at once."""
    settings = process.settings
    target = settings.target_of("query")
    channel = await stack.enter_async_context(process.channel(target))
    queries = QueryClient(channel, process.next_service("query", target))
    service: Service = ExecutionService(
        process.snapshots, queries, attach_credentials=settings.forward_credentials
    )
    server = process.server(SERVICE, settings.agent_execution_port)
    server.add(
        NAME,
        agent_execution_service_pb2_grpc.add_AgentExecutionServiceServicer_to_server,
        AgentExecutionServicer(service, process.peers, process.tracer),
    )
    process.add_configuration(server, ["chat", "embedding"])
    await server.start()
    stack.push_async_callback(server.stop, 0)
    await serve_when_loaded(server, None, stack)
    return server
