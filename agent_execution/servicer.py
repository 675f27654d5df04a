"""AgentExecutionService on the wire: messages to domain types and back, nothing else."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1 import agent_execution_service_pb2_grpc as pb_grpc
from cascada.query.v1 import query_service_pb2

from agent_execution.query_client import Payload
from agent_execution.service import Execution, ExecutionService, Run
from config_core.convert_provenance import incoming
from config_core.errors import Violation
from service_core.request_context import (
    MAX_COLLECTIONS,
    Peers,
    invalid,
    read_context,
    refuse_if,
)
from service_core.trace import Tracer

_Context = grpc.aio.ServicerContext[Any, Any]
Service = ExecutionService[
    Payload, query_service_pb2.QueryResponse, query_service_pb2.StreamQueryResponse
]


class AgentExecutionServicer(pb_grpc.AgentExecutionServiceServicer):
    """Serves Execute and StreamExecute."""

    def __init__(self, service: Service, peers: Peers, tracer: Tracer) -> None:
        self._service = service
        self._peers = peers
        self._tracer = tracer

    async def Execute(  # the names are the contract's
        self, request: pb.ExecuteRequest, context: _Context
    ) -> pb.ExecuteResponse:
        """Answer a message."""
        run = await self._service.begin(self._execution(request, context))
        return self._response(await self._service.execute(run), run)

    async def StreamExecute(
        self, request: pb.StreamExecuteRequest, context: _Context
    ) -> AsyncIterator[pb.StreamExecuteResponse]:
        """Answer a message piece by piece."""
        run = await self._service.begin(self._execution(request, context))
        async with aclosing(self._service.stream(run)) as events:
            async for event in events:
                if event.WhichOneof("event") is not None:  # a later version may have more kinds
                    yield self._event(event, run)

    def _execution(self, request: Payload, context: _Context) -> Execution[Payload]:
        self._peers.check_keys(request.model_configuration, None, context)
        violations: list[Violation] = []
        caller = read_context(request.context, violations)
        collections = tuple(dict.fromkeys(request.retrieval.collections))
        if len(collections) > MAX_COLLECTIONS:
            violations.append(
                invalid("retrieval.collections", f"must be at most {MAX_COLLECTIONS}")
            )
        preferences = request.model_preferences if request.HasField("model_preferences") else None
        found = incoming(request.model_configuration, wire_preferences=preferences)
        if violations:  # else the resolution finds what is wrong with the configuration, and more
            refuse_if([*violations, *found.violations])
        return Execution(
            context=caller,
            incoming=found,
            collections=collections,
            time_remaining=context.time_remaining(),
            payload=request,
        )

    def _response(
        self, reply: query_service_pb2.QueryResponse, run: Run[Payload]
    ) -> pb.ExecuteResponse:
        response = pb.ExecuteResponse(
            answer=reply.answer,
            citations=reply.citations,
            tool_calls=reply.tool_calls,
            finish_reason=reply.finish_reason,
            configuration_trace=self._tracer.to_wire(
                [run.report(), *reply.configuration_trace.hops]
            ),
        )
        if reply.HasField("usage"):
            response.usage.CopyFrom(reply.usage)
        return response

    def _event(
        self, event: query_service_pb2.StreamQueryResponse, run: Run[Payload]
    ) -> pb.StreamExecuteResponse:
        match event.WhichOneof("event"):
            case "delta":
                return pb.StreamExecuteResponse(delta=event.delta)
            case "tool_call_delta":
                return pb.StreamExecuteResponse(tool_call_delta=event.tool_call_delta)
            case "restarted":
                return pb.StreamExecuteResponse(restarted=event.restarted)
            case _:
                return pb.StreamExecuteResponse(completed=self._response(event.completed, run))
