"""The generated stubs for code that blocks, with their types.

A generated stub takes an async or a blocking channel; its type file knows the async one only. So
each cast here says what is true: on a `grpc.Channel`, the methods are the blocking ones.
"""

# grpc's blocking callables take type parameters in their type files only, not at run time.
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1 import agent_execution_service_pb2_grpc as agent_execution_grpc
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from cascada.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from cascada.query.v1 import query_service_pb2 as query
from cascada.query.v1 import query_service_pb2_grpc as query_grpc

if TYPE_CHECKING:
    import grpc


class AgentExecutionStub(Protocol):
    """AgentExecutionService on a blocking channel."""

    Execute: grpc.UnaryUnaryMultiCallable[
        agent_execution.ExecuteRequest, agent_execution.ExecuteResponse
    ]
    StreamExecute: grpc.UnaryStreamMultiCallable[
        agent_execution.StreamExecuteRequest, agent_execution.StreamExecuteResponse
    ]


class QueryStub(Protocol):
    """The part of QueryService on a blocking channel that the examples call."""

    Query: grpc.UnaryUnaryMultiCallable[query.QueryRequest, query.QueryResponse]
    StreamQuery: grpc.UnaryStreamMultiCallable[query.StreamQueryRequest, query.StreamQueryResponse]
    Search: grpc.UnaryUnaryMultiCallable[query.SearchRequest, query.SearchResponse]


class EmbeddingStub(Protocol):
    """EmbeddingService on a blocking channel."""

    Embed: grpc.UnaryUnaryMultiCallable[embedding.EmbedRequest, embedding.EmbedResponse]


def agent_execution_stub(channel: grpc.Channel) -> AgentExecutionStub:
    """AgentExecutionService for blocking code."""
    stub = agent_execution_grpc.AgentExecutionServiceStub(cast("grpc.aio.Channel", channel))
    return cast("AgentExecutionStub", stub)


def query_stub(channel: grpc.Channel) -> QueryStub:
    """QueryService for blocking code."""
    return cast("QueryStub", query_grpc.QueryServiceStub(cast("grpc.aio.Channel", channel)))


def embedding_stub(channel: grpc.Channel) -> EmbeddingStub:
    """EmbeddingService for blocking code."""
    stub = embedding_grpc.EmbeddingServiceStub(cast("grpc.aio.Channel", channel))
    return cast("EmbeddingStub", stub)
