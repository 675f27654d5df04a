"""Counts, traces and logs requests; what a message says is never looked at beyond its context."""

import time
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

from config_core.errors import CascadaError
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed
from service_core.interceptors.hop_span import describe_hop
from service_core.interceptors.outcome import Outcome, outcome_of
from service_core.log_lines import LONGEST_ID, ids_of_record, own_texts
from service_core.record import Record, recording
from service_core.request_context import context_of, tenant_of
from service_core.telemetry import Metrics
from service_core.telemetry.request_trace import RequestTrace
from service_core.telemetry.spans import Spans
from service_core.telemetry.w3c import read_trace_context

_log = structlog.stdlib.get_logger(__name__)


class TelemetryInterceptor(HandlerInterceptor):
    """Gives each request its place in the metrics, in a trace, and one line in the log.

    It stands inside the ErrorInterceptor, so that it sees errors with their reasons.
    """

    def __init__(self, metrics: Metrics, service: str, spans: Spans | None = None) -> None:
        """`service` is the label that tells services of one process apart, such as `query`.

        Without `spans` a trace that comes in goes on as it came.
        """
        self._metrics = metrics
        self._service = service
        self._spans = spans
        # Looking a label's values up costs more than to count.
        self._running: dict[str, Gauge] = {}
        self._ended: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        own_texts(service)
        self._log = _log.bind(service=service)

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Measures one request. Health and reflection are neither counted nor logged."""
        if call.is_infrastructure:
            return await proceed()
        in_flight = self._running.get(call.method) or self._meet(call.method)
        in_flight.inc()
        started = time.perf_counter()
        outcome = Outcome()
        incoming = read_trace_context(call.context.invocation_metadata())
        trace = RequestTrace(call.method, incoming, self._spans)
        with recording() as record:
            record.trace = trace
            try:
                with outcome_of(call) as outcome:
                    return await proceed()
            except CascadaError as error:
                record.hops = error.hops or record.hops
                raise
            finally:
                seconds, code = time.perf_counter() - started, outcome.code.name
                in_flight.dec()
                ended, duration = self._counters(call.method, code, outcome.reason)
                ended.inc()
                duration.observe(seconds)
                if self._spans is not None:
                    self._end(call, record, trace, outcome)
                self._log.info(
                    "request",
                    method=call.method,
                    code=code,
                    reason=outcome.reason,
                    duration_ms=round(seconds * 1000, 1),
                    **_whose(call, record),
                )

    def _meet(self, method: str) -> Gauge:
        own_texts(method)
        return self._running.setdefault(
            method, self._metrics.in_flight.labels(self._service, method)
        )

    def _counters(self, method: str, code: str, reason: str) -> tuple[Counter, Histogram]:
        found = self._ended.get((method, code, reason))
        if found is None:
            found = (
                self._metrics.requests.labels(self._service, method, code, reason),
                self._metrics.duration.labels(self._service, method, code),
            )
            self._ended[method, code, reason] = found
        return found

    def _end(self, call: Call, record: Record, trace: RequestTrace, outcome: Outcome) -> None:
        """End the span; of a request that was refused before it was read, begin it first."""
        if trace.span is None:
            context = context_of(call.request)
            trace.begin("" if context is None else context.trace_id)
        if trace.span is not None:
            if trace.span.is_recording:
                describe_hop(trace.span, self._service, call, record, outcome)
            trace.span.end()


def _whose(call: Call, record: Record) -> dict[str, str]:
    """Caller, tenant and trace of a request, as far as they are known."""
    facts = ids_of_record(record)
    caller = call.caller
    if caller is not None and caller.name:
        facts["caller"] = caller.name[:LONGEST_ID]
    if record.tenant:
        return facts
    # Refused before its context was read: what it says of itself.
    context = context_of(call.request)
    tenant = tenant_of(call.request, caller) or (caller.tenant if caller is not None else "")
    if tenant:
        facts["tenant"] = tenant[:LONGEST_ID]
    if "trace_id" not in facts and context is not None and context.trace_id:
        facts["trace_id"] = context.trace_id[:LONGEST_ID]
    return facts
