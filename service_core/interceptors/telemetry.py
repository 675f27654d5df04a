"""Counts and logs requests; what a message says is never looked at beyond its context."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from structlog.contextvars import bound_contextvars

from config_core.errors import CascadaError, Reason
from service_core.interceptors.handler import Call, HandlerInterceptor
from service_core.status import CODES
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
        code, reason = grpc.StatusCode.OK, ""
        try:
            # Whatever is logged while the request runs says whose it is.
            with bound_contextvars(**_identity(call.request)):
                yield
                code = _set_code(call, grpc.StatusCode.OK)
        except grpc.aio.AbortError:
            code = _set_code(call, grpc.StatusCode.UNKNOWN)
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except CascadaError as error:
            code, reason = CODES[error.code_reason], error.code_reason.name
            raise
        except Exception:
            code, reason = grpc.StatusCode.INTERNAL, Reason.INTERNAL.name
            raise
        finally:
            seconds = time.perf_counter() - started
            in_flight.dec()
            self._metrics.requests.labels(self._service, call.method, code.name, reason).inc()
            self._metrics.duration.labels(self._service, call.method, code.name).observe(seconds)
            _log.info(
                "request",
                service=self._service,
                method=call.method,
                code=code.name,
                reason=reason,
                duration_ms=round(seconds * 1000, 1),
                **_identity(call.request),
            )


def _set_code(call: Call, otherwise: grpc.StatusCode) -> grpc.StatusCode:
    """The code that the handler gave its context by itself."""
    code = call.context.code()
    return code if isinstance(code, grpc.StatusCode) else otherwise


def _identity(request: Any) -> dict[str, str]:
    """Tenant and trace id of a request, or of the options that open a stream."""
    if request is None:
        return {}
    fields = request.DESCRIPTOR.fields_by_name
    if "context" in fields:
        context = request.context
        return {
            name: value[:_LONGEST_ID]
            for name, value in (("tenant", context.tenant_id), ("trace_id", context.trace_id))
            if value
        }
    return _identity(request.options) if "options" in fields else {}
