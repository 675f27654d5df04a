"""What a hop's span says of its request: how it went and what ran, never what was said."""

from collections.abc import Sequence

import grpc

from config_core.effective import EffectiveConfiguration
from service_core.interceptors.handler import Call
from service_core.interceptors.outcome import Outcome
from service_core.record import Record
from service_core.request_context import context_of, tenant_of
from service_core.telemetry.gen_ai import PROVIDERS, usage_of
from service_core.telemetry.spans import AttributeValue, Span
from service_core.trace import HopReport
from service_core.usage import Usage

_OPERATIONS = {
    "Execute": "invoke_agent",
    "StreamExecute": "invoke_agent",
    "Query": "invoke_workflow",
    "StreamQuery": "invoke_workflow",
    "Search": "retrieval",
    "Embed": "embeddings",
}
"""The name of an operation, by its method; what else is served is no such operation."""

# Failures of the service; what is the caller's mistake is none, says OpenTelemetry.
_FAILURES = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def describe_hop(span: Span, service: str, call: Call, record: Record, outcome: Outcome) -> None:
    """Tell how a request has ended at this service."""
    rpc_service, _, method = call.method.removeprefix("/").rpartition("/")
    facts: dict[str, AttributeValue] = {
        "rpc.system": "grpc",
        "rpc.service": rpc_service,
        "rpc.method": method,
        "rpc.grpc.status_code": outcome.code.value[0],
        "rpc.response.status_code": outcome.code.name,
        "cascada.service": service,
    }
    texts = _whose(call, record)
    if method in _OPERATIONS:
        facts["gen_ai.operation.name"] = _OPERATIONS[method]
    own = [hop for hop in record.hops if isinstance(hop, HopReport)]
    effective = _effective(own, record)
    if effective is not None:
        facts["gen_ai.provider.name"] = PROVIDERS[effective.primary.connection.provider]
        facts["cascada.configuration.digest"] = effective.digest
        facts["cascada.configuration.version"] = effective.snapshot_version
        facts["cascada.endpoint"] = effective.primary.connection.endpoint
        texts["gen_ai.request.model"] = effective.primary.model
        texts["gen_ai.response.model"] = next(
            (hop.resolved_model for hop in own if hop.effective is effective), ""
        )
    used = [hop.usage for hop in own if hop.usage is not None]
    facts.update(usage_of(sum(used, Usage())))
    span.set(facts)
    span.set_outside(texts)
    if outcome.reason:
        span.set({"error.type": outcome.reason})
    if outcome.code in _FAILURES:
        span.fail(outcome.reason or outcome.code.name)


def _effective(own: Sequence[HopReport], record: Record) -> EffectiveConfiguration | None:
    """What the hop is about: chat before all."""
    for hop in own:
        if hop.effective.kind == "chat":
            return hop.effective
    return own[0].effective if own else record.effective


def _whose(call: Call, record: Record) -> dict[str, str]:
    context, trace = context_of(call.request), record.trace
    texts = {"cascada.tenant": record.tenant or tenant_of(call.request, call.caller) or ""}
    if call.caller is not None:
        texts["cascada.caller"] = call.caller.name
    if context is not None:
        texts["gen_ai.conversation.id"] = context.session_id
        texts["cascada.task_id"] = context.task_id
    if trace is not None and trace.given != trace.trace_id:
        texts["cascada.trace_id"] = trace.given
    return texts
