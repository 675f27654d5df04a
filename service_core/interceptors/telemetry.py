"""Counts and logs requests; what a message says is never looked at beyond its context."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from service_core.interceptors.handler import Call, HandlerInterceptor
from service_core.interceptors.outcome import Outcome, outcome_of
from service_core.request_context import context_of
from service_core.telemetry import Metrics

_log = structlog.stdlib.get_logger(__name__)

_LONGEST_ID = 128


class TelemetryInterceptor(HandlerInterceptor):
    """Gives each request its place in the metrics and one line in the log.

    It stands inside the ErrorInterceptor, so that it sees errors with their reasons.
    """

    def __init__(self, metrics: Metrics, service: str) -> None:
        """`service` is the label that tells services of one process apart, such as `query`."""
        self._metrics = metrics
        self._service = service

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Measures one request. Health and reflection are neither counted nor logged."""
        if call.is_infrastructure:
            yield
            return
        in_flight = self._metrics.in_flight.labels(self._service, call.method)
        in_flight.inc()
        started = time.perf_counter()
        outcome = Outcome()
        try:
            with outcome_of(call) as outcome:
                yield
        finally:
            seconds, code = time.perf_counter() - started, outcome.code.name
            in_flight.dec()
            self._metrics.requests.labels(self._service, call.method, code, outcome.reason).inc()
            self._metrics.duration.labels(self._service, call.method, code).observe(seconds)
            _log.info(
                "request",
                service=self._service,
                method=call.method,
                code=code,
                reason=outcome.reason,
                duration_ms=round(seconds * 1000, 1),
                **_whose(call),
            )


def _whose(call: Call) -> dict[str, str]:
    """Caller, tenant and trace id of a request, as far as they are known."""
    caller, context = call.caller, context_of(call.request)
    named = context.tenant_id if context is not None else ""
    facts = {
        "caller": caller.name if caller is not None else "",
        "tenant": named or (caller.tenant or "" if caller is not None else ""),
        "trace_id": context.trace_id if context is not None else "",
    }
    return {name: value[:_LONGEST_ID] for name, value in facts.items() if value}
