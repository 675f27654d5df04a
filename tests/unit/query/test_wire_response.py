from datetime import UTC, datetime
from typing import Any

import pytest
from cascada.common.v1 import chat_pb2, error_reason_pb2
from cascada.query.v1 import document_pb2
from google.protobuf import json_format

from config_core.errors import Reason
from query.answer import Answer
from query.citations import Citation
from query.indexing import DocumentOutcome, DocumentResult, IndexSummary
from query.providers.model import FinishReason, TextDelta, ToolCall, ToolCallDelta
from query.retrieval import Found
from query.store import Collection, Hit
from query.wire_response import (
    answer_to_wire,
    collection_to_wire,
    event_to_wire,
    hits_to_wire,
    result_to_wire,
    summary_to_wire,
)
from service_core.retry import Restarted
from service_core.trace import Tracer
from service_core.usage import Usage
from tests.unit.query.world import OTHER_SPACE

TRACER = Tracer()


def found(name: str = "madrid", dense_score: float | None = 0.5) -> Found:
    """A passage."""
    hit = Hit(
        chunk_id=f"{name}#0",
        document_id=name,
        title=name.title(),
        text="Un texto.",
        score=0.25,
        dense_score=dense_score,
        metadata={"text": "x", "number": 3, "flag": True, "part": 2.5},
        section="A > B",
        start=4,
        end=13,
        position=2,
    )
    return Found("cities", hit)


def answer(**fields: Any) -> Answer:
    """An answer."""
    values: dict[str, Any] = {
        "text": "Madrid.",
        "citations": (),
        "tool_calls": (),
        "finish_reason": FinishReason.STOP,
        "usage": Usage(7, 3),
        "hops": (),
    }
    return Answer(**{**values, **fields})


def as_json(message: Any) -> Any:
    """A message as JSON in the contract's own names."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def test_citations_are_numbered_from_one_in_the_order_of_the_prompt() -> None:
    cited = (Citation(found("b"), ((3, 6), (9, 15))), Citation(found("a")))
    message = answer_to_wire(answer(citations=cited), TRACER)
    whole = {
        "collection": "cities",
        "score": 0.25,
        "section": "A > B",
        "document_start": "4",
        "document_end": "13",
    }
    assert [as_json(citation) for citation in message.citations] == [
        {
            "number": 1,
            "chunk_id": "b#0",
            "document_id": "b",
            "title": "B",
            **whole,
            "answer_spans": [{"start": "3", "end": "6"}, {"start": "9", "end": "15"}],
        },
        {"number": 2, "chunk_id": "a#0", "document_id": "a", "title": "A", **whole},
    ]


def test_an_answer_has_its_text_usage_and_tool_calls() -> None:
    message = answer_to_wire(answer(tool_calls=(ToolCall("1", "clock", "{}"),)), TRACER)
    assert message.answer == "Madrid."
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)
    assert as_json(message.tool_calls[0]) == {"id": "1", "name": "clock", "arguments": "{}"}


def test_each_finish_reason_has_its_number_and_unknown_is_unspecified() -> None:
    numbers = [
        answer_to_wire(answer(finish_reason=reason), TRACER).finish_reason
        for reason in FinishReason
    ]
    assert sorted(numbers) == sorted(chat_pb2.FinishReason.values())
    assert numbers[list(FinishReason).index(FinishReason.UNKNOWN)] == 0


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (TextDelta("Ma"), {"delta": "Ma"}),
        (TextDelta(""), {"delta": ""}),
        (
            ToolCallDelta(1, '{"a"', "id-1", "clock"),
            {
                "tool_call_delta": {
                    "index": 1,
                    "id": "id-1",
                    "name": "clock",
                    "arguments": '{"a"',
                }
            },
        ),
        (
            Restarted(Reason.STREAM_INTERRUPTED, 2),
            {"restarted": {"reason": "ERROR_REASON_STREAM_INTERRUPTED", "attempt": 2}},
        ),
    ],
)
def test_each_event_has_its_kind(event: Any, expected: dict[str, Any]) -> None:
    assert as_json(event_to_wire(event, TRACER)) == expected


def test_the_completed_event_is_the_whole_answer() -> None:
    whole = answer(citations=(Citation(found()),), tool_calls=(ToolCall("1", "clock", "{}"),))
    assert event_to_wire(whole, TRACER).completed == answer_to_wire(whole, TRACER)


def test_every_reason_has_its_number() -> None:
    for reason in Reason:
        message = event_to_wire(Restarted(reason, 1), TRACER)
        name = error_reason_pb2.ErrorReason.Name(message.restarted.reason)
        assert name == f"ERROR_REASON_{reason.name}"


def test_a_hit_has_all_that_is_known_of_the_passage() -> None:
    [hit] = hits_to_wire([found()])
    assert as_json(hit) == {
        "chunk_id": "madrid#0",
        "document_id": "madrid",
        "collection": "cities",
        "text": "Un texto.",
        "score": 0.25,
        "dense_score": 0.5,
        "metadata": {"text": "x", "number": 3.0, "flag": True, "part": 2.5},
        "title": "Madrid",
        "section": "A > B",
        "document_start": "4",
        "document_end": "13",
        "position": 2,
    }


def test_a_dense_score_of_zero_is_not_absent_and_none_is() -> None:
    zero, none = hits_to_wire([found(dense_score=0.0), found(dense_score=None)])
    assert (zero.HasField("dense_score"), none.HasField("dense_score")) == (True, False)


def test_each_outcome_has_its_number() -> None:
    numbers = [
        result_to_wire(DocumentResult("d", 0, outcome)).result.outcome
        for outcome in DocumentOutcome
    ]
    assert sorted([0, *numbers]) == sorted(document_pb2.DocumentOutcome.values())


def test_a_failed_document_says_why() -> None:
    failed = DocumentResult(
        "d", 3, DocumentOutcome.FAILED, reason=Reason.RATE_LIMITED, detail="Wait."
    )
    assert as_json(result_to_wire(failed).result) == {
        "document_id": "d",
        "position": "3",
        "outcome": "DOCUMENT_OUTCOME_FAILED",
        "reason": "ERROR_REASON_RATE_LIMITED",
        "detail": "Wait.",
    }


def test_a_summary_has_its_counts() -> None:
    summary = IndexSummary(indexed=1, unchanged=2, failed=3, chunks=4, usage=Usage(5, 0))
    found_json = as_json(summary_to_wire(summary, TRACER).summary)
    del found_json["configuration_trace"]
    assert found_json == {
        "indexed": "1",
        "unchanged": "2",
        "failed": "3",
        "chunks": "4",
        "usage": {"input_tokens": 5},
    }


def test_a_collection_has_its_space_counts_and_times() -> None:
    collection = Collection(
        name="cities",
        space=OTHER_SPACE,
        endpoint="corp",
        document_count=2,
        chunk_count=5,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        updated_at=datetime(2026, 6, 7, 8, 9, 10, tzinfo=UTC),
    )
    assert as_json(collection_to_wire(collection)) == {
        "name": "cities",
        "embedding_space": {
            "provider": "MODEL_PROVIDER_OPENAI",
            "model": "tiny",
            "dimensions": 32,
        },
        "embedding_endpoint": "corp",
        "document_count": "2",
        "chunk_count": "5",
        "create_time": "2026-01-02T03:04:05Z",
        "update_time": "2026-06-07T08:09:10Z",
    }
