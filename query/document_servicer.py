"""The RPCs of QueryService that keep documents, on the wire."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1 import query_service_pb2_grpc as pb_grpc

from config_core.errors import Violation
from query import wire_documents
from query import wire_request as wire
from query.catalog import Catalog
from query.indexer import Indexer
from query.indexing import IndexOptions, IndexSummary, SourceDocument
from query.reindexer import Reindexer
from query.wire_incoming import incoming_from
from query.wire_index_options import index_options_from
from query.wire_reindexing import reindex_event_to_wire, reindex_options_from
from query.wire_response import (
    collection_to_wire,
    description_to_wire,
    result_to_wire,
    summary_to_wire,
)
from service_core.request_context import Peers, RequestContext, invalid, read_context, refuse_if
from service_core.trace import Tracer

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100
MAX_DELETIONS = 1000

_Context = grpc.aio.ServicerContext[Any, Any]


class DocumentServicer(pb_grpc.QueryServiceServicer):
    """Indexes, reindexes, lists and removes documents and collections."""

    def __init__(
        self,
        indexer: Indexer,
        reindexer: Reindexer,
        catalog: Catalog,
        peers: Peers,
        tracer: Tracer,
    ) -> None:
        self._indexer = indexer
        self._reindexer = reindexer
        self._catalog = catalog
        self._peers = peers
        self._tracer = tracer

    async def IndexDocuments(
        self,
        request_iterator: AsyncIterator[pb.IndexDocumentsRequest],
        context: _Context,
    ) -> AsyncIterator[pb.IndexDocumentsResponse]:
        """Take the options, then documents; answer each with a result, and last with a summary."""
        first = await anext(aiter(request_iterator), pb.IndexDocumentsRequest())
        with wire_documents.in_options():
            options = self._index_options(first, context)
            results = self._indexer.index(options, _documents(request_iterator))
            async with aclosing(results):
                async for result in results:
                    if isinstance(result, IndexSummary):
                        yield summary_to_wire(result, self._tracer)
                    else:
                        yield result_to_wire(result)

    async def ReindexCollection(
        self, request: pb.ReindexCollectionRequest, context: _Context
    ) -> AsyncIterator[pb.ReindexCollectionResponse]:
        """Bring a collection into another space; tell the progress, and last the summary."""
        found = incoming_from(request, self._peers, context)
        options = reindex_options_from(request, found, context.time_remaining())
        async with aclosing(self._reindexer.reindex(options)) as events:
            async for event in events:
                yield reindex_event_to_wire(event, self._tracer)

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
        _check_page_size(request.page_size, violations)
        refuse_if(violations)
        collections, token = await self._catalog.list_collections(
            caller.tenant_id, request.page_size or DEFAULT_PAGE_SIZE, request.page_token
        )
        return pb.ListCollectionsResponse(
            collections=map(collection_to_wire, collections), next_page_token=token
        )

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: _Context
    ) -> pb.ListDocumentsResponse:
        """List the documents of a collection."""
        violations: list[Violation] = []
        caller = read_context(request.context, violations)
        wire.check_collection("collection", request.collection, violations)
        _check_page_size(request.page_size, violations)
        refuse_if(violations)
        documents, token = await self._catalog.list_documents(
            caller.tenant_id,
            request.collection,
            request.page_size or DEFAULT_PAGE_SIZE,
            request.page_token,
        )
        return pb.ListDocumentsResponse(
            documents=map(description_to_wire, documents), next_page_token=token
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

    def _index_options(self, first: pb.IndexDocumentsRequest, context: _Context) -> IndexOptions:
        if first.WhichOneof("part") != "options":
            refuse_if([invalid("options", "must come first, before the documents")])
        found = incoming_from(first.options, self._peers, context)
        return index_options_from(first.options, found, context.time_remaining())


def _check_page_size(page_size: int, violations: list[Violation]) -> None:
    if not 0 <= page_size <= MAX_PAGE_SIZE:
        violations.append(invalid("page_size", f"must be 0 to {MAX_PAGE_SIZE}"))


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
        document = wire_documents.document_from(request.document)
        del request  # or it would be kept until the next one comes
        yield document
