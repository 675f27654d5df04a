"""What the query service answers, as messages."""

from collections.abc import Mapping, Sequence

from cascada.common.v1 import chat_pb2, error_reason_pb2, restarted_pb2, retrieval_pb2
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb
from google.protobuf import struct_pb2

from config_core.convert_effective import space_to_wire
from config_core.errors import Reason
from query.answer import Answer, AnswerEvent
from query.citations import Citation
from query.indexing import DocumentOutcome, DocumentResult, IndexSummary
from query.providers.model import FinishReason, TextDelta, ToolCallDelta
from query.retrieval import Found
from query.store import Collection, MetadataValue, StoredDocument
from service_core.retry import Restarted
from service_core.trace import Tracer, usage_to_wire

_FINISH = {
    FinishReason.UNKNOWN: chat_pb2.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: chat_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: chat_pb2.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: chat_pb2.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: chat_pb2.FINISH_REASON_CONTENT_FILTER,
}
_OUTCOMES = {
    DocumentOutcome.INDEXED: document_pb2.DOCUMENT_OUTCOME_INDEXED,
    DocumentOutcome.UNCHANGED: document_pb2.DOCUMENT_OUTCOME_UNCHANGED,
    DocumentOutcome.FAILED: document_pb2.DOCUMENT_OUTCOME_FAILED,
}


def answer_to_wire(answer: Answer, tracer: Tracer) -> pb.QueryResponse:
    """A whole answer."""
    return pb.QueryResponse(
        answer=answer.text,
        citations=[
            _citation(number, citation) for number, citation in enumerate(answer.citations, start=1)
        ],
        tool_calls=[
            chat_pb2.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
            for call in answer.tool_calls
        ],
        finish_reason=_FINISH[answer.finish_reason],
        usage=usage_to_wire(answer.usage),
        configuration_trace=tracer.to_wire(answer.hops),
    )


def event_to_wire(event: AnswerEvent, tracer: Tracer) -> pb.StreamQueryResponse:
    """One event of a stream."""
    match event:
        case TextDelta(text):
            return pb.StreamQueryResponse(delta=text)
        case ToolCallDelta():
            return pb.StreamQueryResponse(
                tool_call_delta=chat_pb2.ToolCallDelta(
                    index=event.index, id=event.id, name=event.name, arguments=event.arguments
                )
            )
        case Restarted(reason, attempt):
            return pb.StreamQueryResponse(
                restarted=restarted_pb2.Restarted(reason=_reason(reason), attempt=attempt)
            )
        case Answer():
            return pb.StreamQueryResponse(completed=answer_to_wire(event, tracer))


def hits_to_wire(passages: Sequence[Found]) -> list[pb.Hit]:
    """Passages found."""
    return [
        pb.Hit(
            chunk_id=found.hit.chunk_id,
            document_id=found.hit.document_id,
            collection=found.collection,
            text=found.hit.text,
            score=found.hit.score,
            dense_score=found.hit.dense_score,
            metadata=_metadata(found.hit.metadata),
            title=found.hit.title,
            section=found.hit.section,
            document_start=found.hit.start,
            document_end=found.hit.end,
            position=found.hit.position,
        )
        for found in passages
    ]


def description_to_wire(document: StoredDocument) -> document_pb2.DocumentDescription:
    """A stored document."""
    return document_pb2.DocumentDescription(
        document_id=document.document_id,
        title=document.title,
        source=document.source,
        metadata=_metadata(document.metadata),
        chunk_count=document.chunk_count,
    )


def result_to_wire(result: DocumentResult) -> pb.IndexDocumentsResponse:
    """One document's outcome."""
    message = document_pb2.DocumentResult(
        document_id=result.document_id,
        position=result.position,
        outcome=_OUTCOMES[result.outcome],
        chunk_count=result.chunk_count,
        detail=result.detail,
    )
    if result.reason is not None:
        message.reason = _reason(result.reason)
    return pb.IndexDocumentsResponse(result=message)


def summary_to_wire(summary: IndexSummary, tracer: Tracer) -> pb.IndexDocumentsResponse:
    """The end of a stream of documents."""
    return pb.IndexDocumentsResponse(
        summary=document_pb2.IndexSummary(
            indexed=summary.indexed,
            unchanged=summary.unchanged,
            failed=summary.failed,
            chunks=summary.chunks,
            usage=usage_to_wire(summary.usage),
            configuration_trace=tracer.to_wire(summary.hops),
        )
    )


def collection_to_wire(collection: Collection) -> pb.Collection:
    """A collection's description."""
    message = pb.Collection(
        name=collection.name,
        embedding_space=space_to_wire(collection.space),
        embedding_endpoint=collection.endpoint,
        document_count=collection.document_count,
        chunk_count=collection.chunk_count,
    )
    message.create_time.FromDatetime(collection.created_at)
    message.update_time.FromDatetime(collection.updated_at)
    return message


def _citation(number: int, citation: Citation) -> retrieval_pb2.Citation:
    hit = citation.passage.hit
    return retrieval_pb2.Citation(
        number=number,
        chunk_id=hit.chunk_id,
        document_id=hit.document_id,
        collection=citation.passage.collection,
        title=hit.title,
        score=hit.score,
        section=hit.section,
        document_start=hit.start,
        document_end=hit.end,
        answer_spans=[
            retrieval_pb2.AnswerSpan(start=start, end=end) for start, end in citation.spans
        ],
    )


def _metadata(metadata: Mapping[str, MetadataValue]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(metadata)
    return struct


def _reason(reason: Reason) -> error_reason_pb2.ErrorReason.ValueType:
    return error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason.name}")
