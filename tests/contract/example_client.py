"""What a client team's own code may look like: the code under test in `test_blocking_stubs.py`."""

import struct
from collections.abc import Iterator, Sequence
from typing import cast

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.common.v1 import retrieval_pb2
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from cascada.query.v1 import query_service_pb2 as query
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.contract.blocking import agent_execution_stub, embedding_stub, query_stub

TIMEOUT = 30.0


class AnswerError(Exception):
    """A call failed: the reason of `cascada.common.v1.ErrorReason`, its facts, and a sentence."""

    def __init__(self, reason: str, facts: dict[str, str], sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.facts = facts


class Assistant:
    """Questions, searches and vectors for an application that blocks."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._agent_execution = agent_execution_stub(channel)
        self._query = query_stub(channel)
        self._embedding = embedding_stub(channel)

    def ask(self, question: str) -> str:
        """The answer with the documents that it cites; raises AnswerError."""
        try:
            response = self._agent_execution.Execute(
                agent_execution.ExecuteRequest(message=question), timeout=TIMEOUT
            )
        except grpc.RpcError as error:
            raise _explained(error) from error
        cited = ", ".join(citation.document_id for citation in response.citations)
        return f"{response.answer} [{cited}]"

    def ask_live(self, question: str) -> Iterator[str]:
        """The answer so far, after each piece; a restart begins anew. Raises AnswerError."""
        so_far = ""
        try:
            for event in self._agent_execution.StreamExecute(
                agent_execution.StreamExecuteRequest(message=question), timeout=TIMEOUT
            ):
                match event.WhichOneof("event"):
                    case "delta":
                        so_far += event.delta
                        yield so_far
                    case "restarted":
                        so_far = ""
                    case "completed":
                        yield event.completed.answer
        except grpc.RpcError as error:
            raise _explained(error) from error

    def ask_documents(self, question: str, collection: str) -> str:
        """The answer of the query service, from one collection."""
        request = query.QueryRequest(
            message=question, retrieval=retrieval_pb2.Retrieval(collections=[collection])
        )
        return self._query.Query(request, timeout=TIMEOUT).answer

    def find(self, text: str, collection: str) -> list[str]:
        """The ids of the documents found, best first."""
        request = query.SearchRequest(
            query=text, retrieval=retrieval_pb2.Retrieval(collections=[collection])
        )
        return [hit.document_id for hit in self._query.Search(request, timeout=TIMEOUT).hits]

    def vectors(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One vector a text."""
        request = embedding.EmbedRequest(texts=texts, input_kind=embedding.INPUT_KIND_QUERY)
        response = self._embedding.Embed(request, timeout=TIMEOUT)
        form = f"<{response.space.dimensions}f"
        return [struct.unpack(form, packed) for packed in response.embeddings]


def _explained(error: grpc.RpcError) -> AnswerError:
    """What `grpc-status-details-bin` in the trailing metadata says of an error."""
    # What a blocking call raises is the call itself, which the base class does not say.
    call = cast("grpc.Call", error)
    status = rpc_status.from_call(call)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            break
    return AnswerError(info.reason, dict(info.metadata), call.details() or "")
