"""Errors as gRPC statuses and back: the one table from reason to code, and what a status carries.

A status has an ErrorInfo, the violations or the wait where there are any, and the trace as far as
it fits. gRPC replaces a status whose metadata is too long by one of its own, hence the limits here.
"""

from collections.abc import Mapping
from types import MappingProxyType

import grpc
from cascada.config.v1 import configuration_trace_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from config_core.errors import CascadaError, Reason, RemoteError, Violation
from service_core.status_details import COUNT_REASON, DOMAIN, candidates, sentence

MAX_STATUS_BYTES = 4096

_DETAILS_KEY = "grpc-status-details-bin"

CODES: Mapping[Reason, grpc.StatusCode] = MappingProxyType(
    {
        Reason.INVALID_CONFIGURATION: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.CAPABILITY_UNSUPPORTED: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.CREDENTIAL_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.EMBEDDING_SPACE_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.CALLER_CREDENTIAL_REJECTED: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.UPSTREAM_CREDENTIAL_REJECTED: grpc.StatusCode.UNAVAILABLE,
        Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.LIMIT_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.MODEL_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        Reason.COLLECTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        Reason.DOCUMENT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        Reason.CONTEXT_TOO_LONG: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.CONTENT_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.UPSTREAM_REJECTED: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.UPSTREAM_FAILED: grpc.StatusCode.UNAVAILABLE,
        Reason.STREAM_INTERRUPTED: grpc.StatusCode.UNAVAILABLE,
        Reason.BUDGET_SPENT: grpc.StatusCode.DEADLINE_EXCEEDED,
        Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
        Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
        Reason.POLICY_VIOLATION: grpc.StatusCode.PERMISSION_DENIED,
        Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    }
)
"""The gRPC code of every reason; the last attempt's reason decides."""

_PLAIN_SENTENCES: Mapping[grpc.StatusCode, str] = MappingProxyType(
    {
        grpc.StatusCode.RESOURCE_EXHAUSTED: (
            "A message to or from {place} is too large, or the service takes no more calls: send "
            "less at once."
        ),
        grpc.StatusCode.UNIMPLEMENTED: (
            "{place} does not know the call: check that the target is right and that all services "
            "run the same version."
        ),
        grpc.StatusCode.UNAUTHENTICATED: "{place} refuses the identity of the service before it.",
        grpc.StatusCode.PERMISSION_DENIED: (
            "{place} refuses the call of the service before it: check the roles of the services."
        ),
    }
)
_UNKNOWN_SENTENCE = "{place} failed in a way that is not understood here; its log may say more."


def to_status(
    error: CascadaError, trace: configuration_trace_pb2.ConfigurationTrace | None = None
) -> status_pb2.Status:
    """Gives what a caller gets for an error, for `rpc_status.to_status`.

    The message stays within 1 KB on the wire, message and details together within 4 KB: the trace
    loses its dropped options, then its sources, then goes; after it the last violations go, and are
    counted, and long values are shortened.
    """
    status = status_pb2.Status(
        code=CODES[error.code_reason].value[0], message=sentence(error.message)
    )
    for details in candidates(error, trace):
        del status.details[:]
        for detail in details:
            status.details.add().Pack(detail)
        if status.ByteSize() <= MAX_STATUS_BYTES:
            break
    return status


def from_status(error: grpc.aio.AioRpcError, service: str, target: str = "") -> CascadaError:
    """Rebuilds the error that the next service sent, so that it passes over hops unchanged.

    Args:
        error: What the call raised.
        service: The next service's name for people, such as `query`.
        target: Where the channel leads, for the sentence of one that cannot be reached.

    Returns:
        The error with reason, message, metadata, violations, wait and HopReports (`hops`) of the
        next service. A failure of gRPC itself becomes UPSTREAM_FAILED, BUDGET_SPENT or INTERNAL
        with a sentence of ours; the transport's text is never in it.
    """
    return _from_details(error) or _from_code(error.code(), service, target)


def _from_details(error: grpc.aio.AioRpcError) -> CascadaError | None:
    """The error in the details; None where there are none, or none of ours that is understood."""
    status = status_pb2.Status()
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, trace = error_details_pb2.RetryInfo(), configuration_trace_pb2.ConfigurationTrace()
    try:
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS_KEY and isinstance(value, bytes):
                status.ParseFromString(value)
        for detail in status.details:
            for known in (info, request, retry, trace):
                detail.Unpack(known)
    except DecodeError:
        return None
    if info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    reason = Reason[info.reason]
    remote = RemoteError(
        reason,
        status.message,
        metadata=dict(info.metadata),
        violations=[
            Violation(
                violation.field,
                violation.description,
                Reason.__members__.get(violation.reason, reason),
            )
            for violation in request.field_violations
            if violation.reason != COUNT_REASON
        ],
        retry_after=(
            retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
        ),
    )
    remote.hops = tuple(trace.hops)
    return remote


def _from_code(code: grpc.StatusCode, service: str, target: str) -> CascadaError:
    facts = {"service": service}
    if code is grpc.StatusCode.UNAVAILABLE:
        place = f" at {target}" if target else ""
        return RemoteError(
            Reason.UPSTREAM_FAILED,
            f"The {service} service can't be reached{place}: check that it runs and that the "
            "target is right, then try again.",
            metadata=facts,
        )
    if code is grpc.StatusCode.CANCELLED:
        # Nobody here cancelled it, that raises CancelledError. A server that drains does so to
        # calls that reach it in the last moment.
        return RemoteError(
            Reason.UPSTREAM_FAILED,
            f"The {service} service ended the call, as it does while it shuts down: try again.",
            metadata=facts,
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RemoteError(
            Reason.BUDGET_SPENT,
            f"The {service} service did not answer before the deadline: give the call more time, "
            "or raise timeout_seconds.",
            metadata=facts,
        )
    plain = _PLAIN_SENTENCES.get(code, _UNKNOWN_SENTENCE).format(place=f"the {service} service")
    return RemoteError(Reason.INTERNAL, plain[0].upper() + plain[1:], metadata=facts)
