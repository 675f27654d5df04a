"""QueryService on the wire: messages to domain types and back, nothing else."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1 import query_service_pb2_grpc as pb_grpc

from config_core.convert_provenance import incoming
from config_core.errors import Violation
from config_core.sources.request import Incoming
from query import wire_request as wire
from query.catalog import Catalog
from query.indexer import Indexer
from query.indexing import IndexOptions, IndexSummary, SourceDocument
from query.question import Question
from query.service import QueryService
from query.wire_conversation import conversation_from
from query.wire_response import (
    answer_to_wire,
    collection_to_wire,
    event_to_wire,
    hits_to_wire,
    result_to_wire,
    summary_to_wire,
)
from service_core.request_context import Peers, RequestContext, invalid, read_context, refuse_if
from service_core.trace import Tracer

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100
MAX_DELETIONS = 1000

_Context = grpc.aio.ServicerContext[Any, Any]
_Configured = pb.QueryRequest | pb.StreamQueryRequest | pb.SearchRequest | document_pb2.IndexOptions


class QueryServicer(pb_grpc.QueryServiceServicer):
    """Serves the eight RPCs of QueryService."""

    def __init__(
        self,
        service: QueryService,
        indexer: Indexer,
        catalog: Catalog,
        peers: Peers,
        tracer: Tracer,
    ) -> None:
        self._service = service
        self._indexer = indexer
        self._catalog = catalog
        self._peers = peers
        self._tracer = tracer

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
        found = self._incoming(request, context)
        _refuse(violations, found)
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

    async def IndexDocuments(
        self,
        request_iterator: AsyncIterator[pb.IndexDocumentsRequest],
        context: _Context,
    ) -> AsyncIterator[pb.IndexDocumentsResponse]:
        """Take the options, then documents; answer each with a result, and last with a summary."""
        first = await anext(aiter(request_iterator), pb.IndexDocumentsRequest())
        options = self._index_options(first, context)
        results = self._indexer.index(options, _documents(request_iterator))
        async with aclosing(results):
            async for result in results:
                if isinstance(result, IndexSummary):
                    yield summary_to_wire(result, self._tracer)
                else:
                    yield result_to_wire(result)

    async def DeleteDocuments(
        self, request: pb.DeleteDocumentsRequest, context: _Context
    ) -> pb.DeleteDocumentsResponse:
        """Remove documents."""
        violations: list[Violation] = []
        caller = read_context(request.context, violations)
        wire.check_collection("collection", request.collection, violations)
        if not 1 <= len(request.document_ids) <= MAX_DELETIONS:
            violations.append(invalid("document_ids", f"must be 1 to {MAX_DELETIONS} documents"))
        refuse_if(violations)
        deleted, missing = await self._catalog.delete_documents(
            caller.tenant_id, request.collection, request.document_ids
        )
        return pb.DeleteDocumentsResponse(
            deleted_document_ids=deleted, missing_document_ids=missing
        )

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: _Context
    ) -> pb.ListCollectionsResponse:
        """List the tenant's collections."""
        violations: list[Violation] = []
        caller = read_context(request.context, violations)
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            violations.append(invalid("page_size", f"must be 0 to {MAX_PAGE_SIZE}"))
        refuse_if(violations)
        collections, token = await self._catalog.list_collections(
            caller.tenant_id, request.page_size or DEFAULT_PAGE_SIZE, request.page_token
        )
        return pb.ListCollectionsResponse(
            collections=map(collection_to_wire, collections), next_page_token=token
        )

    async def GetCollection(
        self, request: pb.GetCollectionRequest, context: _Context
    ) -> pb.GetCollectionResponse:
        """Describe a collection."""
        caller = _named_collection(request)
        collection = await self._catalog.get_collection(caller.tenant_id, request.collection)
        return pb.GetCollectionResponse(collection=collection_to_wire(collection))

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: _Context
    ) -> pb.DeleteCollectionResponse:
        """Remove a collection with all its documents."""
        caller = _named_collection(request)
        await self._catalog.delete_collection(caller.tenant_id, request.collection)
        return pb.DeleteCollectionResponse()

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
            incoming=self._incoming(request, context),
            time_remaining=context.time_remaining(),
            retrieval=retrieval,
            system_prompt=wire.optional(request, "system_prompt"),
            history=history,
            after=after,
            tools=wire.tools_from(request.tools, violations),
            response_format=wire.response_format_from(request.response_format, violations),
        )
        _refuse(violations, question.incoming)
        return question

    def _incoming(self, request: _Configured, context: _Context) -> Incoming:
        provenance = request.provenance if request.HasField("provenance") else None
        self._peers.check_keys(request.model_configuration, provenance, context)
        return incoming(
            request.model_configuration,
            wire_provenance=provenance,
            trusted=self._peers.trusts(context),
        )

    def _index_options(self, first: pb.IndexDocumentsRequest, context: _Context) -> IndexOptions:
        if first.WhichOneof("part") != "options":
            refuse_if([invalid("options", "must come first, before the documents")])
        options = first.options
        misplaced: list[Violation] = []
        caller = read_context(options.context, misplaced)
        violations = [replace(found, field=f"options.{found.field}") for found in misplaced]
        wire.check_collection("options.collection", options.collection, violations)
        tokens, overlap = wire.chunk_settings(options, violations)
        found = self._incoming(options, context)
        _refuse(violations, found)
        return IndexOptions(
            context=caller,
            collection=options.collection,
            incoming=found,
            time_remaining=context.time_remaining(),
            chunk_tokens=tokens,
            overlap_sentences=overlap,
        )


def _refuse(violations: list[Violation], found: Incoming) -> None:
    """Refuse a request with all that is wrong with it, its model configuration included.

    What is wrong with that alone is left to its resolution, which finds more.
    """
    if violations:
        refuse_if([*violations, *found.violations])


def _named_collection(
    request: pb.GetCollectionRequest | pb.DeleteCollectionRequest,
) -> RequestContext:
    violations: list[Violation] = []
    caller = read_context(request.context, violations)
    wire.check_collection("collection", request.collection, violations)
    refuse_if(violations)
    return caller


async def _documents(
    requests: AsyncIterator[pb.IndexDocumentsRequest],
) -> AsyncIterator[SourceDocument]:
    async for request in requests:
        if request.WhichOneof("part") != "document":
            refuse_if([invalid("document", "must follow the options, and nothing else")])
        yield wire.document_from(request.document)
