"""What a line of the audit says of the services behind the one that writes it."""

from typing import TypeAlias

import pytest
from cascada.common.v1 import error_reason_pb2
from cascada.config.v1 import (
    configuration_trace_pb2,
    effective_configuration_pb2,
    model_provider_pb2,
)

from service_core.audit.entry import Entry
from service_core.record import Record

FAILED = configuration_trace_pb2.ATTEMPT_OUTCOME_FAILED
SUCCEEDED = configuration_trace_pb2.ATTEMPT_OUTCOME_SUCCEEDED
Outcome: TypeAlias = configuration_trace_pb2.AttemptOutcome.ValueType


def entry(last: Outcome, resolved: str) -> Entry:
    """A request whose query service called groq, and then mistral."""
    attempts = [
        configuration_trace_pb2.Attempt(
            provider=model_provider_pb2.MODEL_PROVIDER_GROQ,
            model="llama",
            outcome=FAILED,
            reason=error_reason_pb2.ERROR_REASON_UPSTREAM_FAILED,
        ),
        configuration_trace_pb2.Attempt(
            provider=model_provider_pb2.MODEL_PROVIDER_MISTRAL, model="small", outcome=last
        ),
    ]
    hop = configuration_trace_pb2.HopReport(
        service="query",
        operation=effective_configuration_pb2.OPERATION_CHAT,
        effective=effective_configuration_pb2.EffectiveConfiguration(resolved_model=resolved),
        attempts=attempts,
    )
    return Entry(
        service="agent-execution",
        method="/m",
        peer="ipv4:127.0.0.1:5",
        caller=None,
        request=None,
        response=None,
        record=Record(hops=[hop]),
        enters=True,
        code="UNAVAILABLE",
        reason="UPSTREAM_FAILED",
        duration=0.1,
    )


@pytest.mark.parametrize(
    ("last", "resolved", "model"),
    [(FAILED, "llama", "small"), (SUCCEEDED, "small-2603", "small-2603")],
)
def test_provider_and_model_of_a_later_service_are_of_one_call(
    last: Outcome, resolved: str, model: str
) -> None:
    facts = entry(last, resolved).facts(None, content=False)
    assert (facts["provider"], facts["model"]) == ("mistral", model)
