"""QueryService on the wire: messages to domain types and back, nothing else."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from cascada.query.v1 import query_service_pb2 as pb

from config_core.errors import Violation
from query import wire_request as wire
from query.catalog import Catalog
from query.document_servicer import DocumentServicer
from query.indexer import Indexer
from query.question import Question
from query.reindexer import Reindexer
from query.service import QueryService
from query.wire_conversation import conversation_from
from query.wire_incoming import incoming_from, refuse_with
from query.wire_response import (
    answer_to_wire,
    event_to_wire,
    hits_to_wire,
)
from service_core.request_context import Peers, read_context
from service_core.trace import Tracer

_Context = grpc.aio.ServicerContext[Any, Any]


class QueryServicer(DocumentServicer):
    """Serves all RPCs of QueryService: these, and those of DocumentServicer."""

    def __init__(
        self,
        service: QueryService,
        indexer: Indexer,
        reindexer: Reindexer,
        catalog: Catalog,
        peers: Peers,
        tracer: Tracer,
    ) -> None:
        super().__init__(indexer, reindexer, catalog, peers, tracer)
        self._service = service

    async def Query(  # the names are the contract's
        self, request: pb.QueryRequest, context: _Context
    ) -> pb.QueryResponse:
        """Answer a message."""
        answer = await self._service.query(self._question(request, context))
        return answer_to_wire(answer, self._tracer)

    async def StreamQuery(
        self, request: pb.StreamQueryRequest, context: _Context
    ) -> AsyncIterator[pb.StreamQueryResponse]:
        """Answer a message piece by piece."""
        async with aclosing(self._service.stream_query(self._question(request, context))) as events:
            async for event in events:
                yield event_to_wire(event, self._tracer)

    async def Search(self, request: pb.SearchRequest, context: _Context) -> pb.SearchResponse:
        """Find passages."""
        violations: list[Violation] = []
        caller = read_context(request.context, violations)
        wire.check_text("query", request.query, wire.MAX_QUERY_CHARACTERS, violations)
        retrieval = wire.retrieval_from(request.retrieval, violations)
        found = incoming_from(request, self._peers, context)
        refuse_with(violations, found)
        retrieved = await self._service.search(
            request.query,
            retrieval,
            caller,
            found,
            context.time_remaining(),
        )
        return pb.SearchResponse(
            hits=hits_to_wire(retrieved.passages),
            configuration_trace=self._tracer.to_wire(retrieved.hops),
        )

    def _question(self, request: wire.QueryMessage, context: _Context) -> Question:
        violations: list[Violation] = []
        caller = read_context(request.context, violations)
        message, history, after = conversation_from(request.message, request.history, violations)
        retrieval = (
            wire.retrieval_from(request.retrieval, violations)
            if request.HasField("retrieval")
            else None
        )
        question = Question(
            context=caller,
            message=message,
            incoming=incoming_from(request, self._peers, context),
            time_remaining=context.time_remaining(),
            retrieval=retrieval,
            system_prompt=wire.optional(request, "system_prompt"),
            history=history,
            after=after,
            tools=wire.tools_from(request.tools, violations),
            response_format=wire.response_format_from(request.response_format, violations),
        )
        refuse_with(violations, question.incoming)
        return question
