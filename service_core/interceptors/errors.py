"""Turns errors into statuses; no text of an unexpected exception reaches a caller."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Never

import grpc
import structlog
from cascada.config.v1 import configuration_trace_pb2
from grpc_status import rpc_status

from config_core.errors import CascadaError, Reason, RemoteError
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed
from service_core.redaction import scrub
from service_core.status import to_status

_log = structlog.stdlib.get_logger(__name__)

READ_OFF_SECONDS = 1.0
"""How long a caller that still sends is listened to before its call is ended."""

TraceOf = Callable[[CascadaError], configuration_trace_pb2.ConfigurationTrace | None]


def forwarded_trace(error: CascadaError) -> configuration_trace_pb2.ConfigurationTrace | None:
    """Gives the trace of an error whose hops are HopReports, as `from_status` rebuilds them."""
    hops = [hop for hop in error.hops if isinstance(hop, configuration_trace_pb2.HopReport)]
    return configuration_trace_pb2.ConfigurationTrace(hops=hops) if hops else None


class ErrorInterceptor(HandlerInterceptor):
    """The outermost interceptor: every error leaves as a code, an ErrorInfo and one sentence."""

    def __init__(self, trace_of: TraceOf = forwarded_trace) -> None:
        """`trace_of` gives the trace as far as the error knows it."""
        self._trace_of = trace_of

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Aborts with the rich status of whatever the handler raises."""
        try:
            return await proceed()
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except CascadaError as error:
            if error.code_reason is Reason.INTERNAL and "error_id" not in error.metadata:
                error.metadata["error_id"] = _log_fault(call, error)
            await self._abort(call, error)
        except NotImplementedError as error:
            # What a generated base class does for a call that its servicer does not have.
            if call.context.code() is grpc.StatusCode.UNIMPLEMENTED:
                await call.context.abort(
                    grpc.StatusCode.UNIMPLEMENTED, f"{call.method} is not served here."
                )
            await self._abort(call, _fault(_log_fault(call, error)))
        except Exception as error:  # noqa: BLE001 # nothing else may stand between a fault and the caller
            await self._abort(call, _fault(_log_fault(call, error)))

    async def _abort(self, call: Call, error: CascadaError) -> Never:
        if call.requests is not None:
            await _read_off(call.requests, call.context.time_remaining())
        status = to_status(error, self._trace_of(error))
        await call.context.abort_with_status(rpc_status.to_status(status))


async def _read_off(requests: AsyncIterator[Any], time_remaining: float | None) -> None:
    """Take what is still sent: a Python client that writes loses the status (grpc 36066)."""
    seconds = READ_OFF_SECONDS
    if time_remaining is not None:
        seconds = min(seconds, time_remaining / 2)
    with suppress(TimeoutError, asyncio.InvalidStateError, grpc.aio.UsageError):
        async with asyncio.timeout(seconds):
            async for _ in requests:
                pass


def _fault(error_id: str) -> CascadaError:
    return RemoteError(
        Reason.INTERNAL,
        f"Something went wrong inside the service; its log says more under error id {error_id}.",
        metadata={"error_id": error_id},
    )


def _log_fault(call: Call, error: Exception) -> str:
    error_id = uuid.uuid4().hex[:16]
    _log.error(
        "request_fault",
        error_id=error_id,
        method=call.method,
        error=f"{type(error).__name__}: {scrub(str(error))}",
        exc_info=error,
    )
    return error_id
