from dataclasses import replace
from typing import Any

import pytest
from cascada.common.v1 import error_reason_pb2
from cascada.config.v1 import configuration_trace_pb2 as trace
from cascada.config.v1 import effective_configuration_pb2
from pydantic import SecretStr

from config_core.errors import CascadaError, Reason
from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace
from service_core.attempts import Attempt, Outcome
from service_core.trace import HopReport, Tracer, usage_from_wire, usage_to_wire
from service_core.usage import Usage
from tests.unit.config_core.support import chat, embedding, snapshot

CANARY = "sk-canary-0123456789"
OPERATORS = "sk-operators-0123456789"
OPENAI = ModelProvider.OPENAI
CHAT = chat(snapshot(), {"chat_provider": "openai", "chat_api_key": CANARY})
EMBEDDING = embedding(snapshot({}, {"OPENAI_API_KEY": OPERATORS}), {"embedding_provider": "openai"})


def wire(hop: HopReport, tracer: Tracer | None = None) -> trace.HopReport:
    (message,) = (tracer or Tracer()).to_wire([hop]).hops
    return message


def test_hops_keep_their_order_and_those_of_later_services_pass_as_they_came() -> None:
    later = trace.HopReport(service="query", collections=["handbook"])
    hops = Tracer().to_wire([HopReport("agent-execution", CHAT, 0.0), later]).hops
    assert [hop.service for hop in hops] == ["agent-execution", "query"]
    assert hops[1] == later


@pytest.mark.parametrize(
    ("effective", "operation"),
    [
        (CHAT, effective_configuration_pb2.OPERATION_CHAT),
        (EMBEDDING, effective_configuration_pb2.OPERATION_EMBEDDING),
    ],
    ids=["chat", "embedding"],
)
def test_a_report_says_what_was_done(effective: Any, operation: int) -> None:
    assert wire(HopReport("query", effective, 0.0)).operation == operation


def test_a_report_has_its_duration_and_collections() -> None:
    message = wire(HopReport("query", EMBEDDING, 1.25, collections=("a", "b")))
    assert message.duration.ToTimedelta().total_seconds() == 1.25
    assert list(message.collections) == ["a", "b"]


def test_usage_is_absent_where_the_service_called_no_provider() -> None:
    assert not wire(HopReport("agent-execution", CHAT, 0.0)).HasField("usage")


def test_a_usage_of_nothing_is_present() -> None:
    assert wire(HopReport("query", CHAT, 0.0, usage=Usage())).HasField("usage")


def test_usage_goes_to_the_wire_and_back() -> None:
    assert usage_from_wire(usage_to_wire(Usage(7, 3))) == Usage(7, 3)


def test_the_model_that_answered_stands_beside_the_one_that_was_asked_for() -> None:
    effective = wire(HopReport("query", CHAT, 0.0, resolved_model="gpt-x-2026")).effective
    assert effective.resolved_model == "gpt-x-2026"
    assert effective.values.chat_model == CHAT.values.chat_model


def test_before_an_answer_the_model_is_the_one_to_be_called() -> None:
    assert wire(HopReport("query", CHAT, 0.0)).effective.resolved_model == CHAT.primary.model


def test_the_space_that_came_replaces_the_one_that_was_expected() -> None:
    space = EmbeddingSpace(OPENAI, "m", 8)
    found = wire(HopReport("embedding", EMBEDDING, 0.0, space=space)).effective.embedding_space
    assert (found.model, found.dimensions) == ("m", 8)


ATTEMPT = Attempt(
    OPENAI,
    "corp",
    "m",
    Outcome.FAILED,
    Reason.RATE_LIMITED,
    "Too many.",
    status=429,
    wait=0.25,
    duration=1.5,
    request_id="req-1",
)


def test_an_attempt_is_written_with_all_that_is_known_of_it() -> None:
    (message,) = wire(HopReport("query", CHAT, 0.0, attempts=(ATTEMPT,))).attempts
    assert message.endpoint == "corp"
    assert message.model == "m"
    assert message.outcome == trace.ATTEMPT_OUTCOME_FAILED
    assert message.reason == error_reason_pb2.ERROR_REASON_RATE_LIMITED
    assert (message.detail, message.status) == ("Too many.", 429)
    assert message.wait.ToTimedelta().total_seconds() == 0.25
    assert message.duration.ToTimedelta().total_seconds() == 1.5
    assert message.upstream_request_id == "req-1"


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_outcome_and_reason_has_its_place_on_the_wire(
    outcome: Outcome, reason: Reason | None
) -> None:
    attempt = replace(ATTEMPT, outcome=outcome, reason=reason)
    (message,) = wire(HopReport("query", CHAT, 0.0, attempts=(attempt,))).attempts
    assert trace.AttemptOutcome.Name(message.outcome) == f"ATTEMPT_OUTCOME_{outcome.name}"
    name = reason.name if reason else "UNSPECIFIED"
    assert error_reason_pb2.ErrorReason.Name(message.reason) == f"ERROR_REASON_{name}"


def test_an_error_without_hops_has_no_trace() -> None:
    assert Tracer().of_error(CascadaError("No.")) is None


def test_an_error_has_the_trace_of_its_hops_and_of_nothing_else() -> None:
    error = CascadaError("No.")
    error.hops = (HopReport("query", CHAT, 0.0), trace.HopReport(service="embedding"), "other")
    found = Tracer().of_error(error)
    assert found is not None
    assert [hop.service for hop in found.hops] == ["query", "embedding"]


def test_no_key_is_in_a_trace() -> None:
    tracer = Tracer(SecretStr("the key of the fingerprints"))
    hops = [HopReport("query", CHAT, 0.0), HopReport("embedding", EMBEDDING, 0.0)]
    text = f"{tracer.to_wire(hops)} {hops!r}"
    assert CANARY not in text
    assert OPERATORS not in text
    assert "the key of the fingerprints" not in f"{text} {tracer!r}"


def test_without_a_key_of_their_own_there_are_no_fingerprints() -> None:
    assert not wire(HopReport("query", CHAT, 0.0)).effective.key_fingerprints


def test_a_callers_key_is_shown_by_its_fingerprint_and_the_operators_is_not() -> None:
    tracer = Tracer(SecretStr("the key of the fingerprints"))
    callers = wire(HopReport("query", CHAT, 0.0), tracer).effective.key_fingerprints
    operators = wire(HopReport("embedding", EMBEDDING, 0.0), tracer).effective.key_fingerprints
    assert set(callers) == {"chat"}
    assert not operators
