"""Errors of calls as failures of a command: the sentence, the exit code, the JSON details."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import grpc
from cascada.config.v1 import configuration_trace_pb2

from cli.exits import CommandError, ExitCode
from cli.messages import as_document
from cli.trace import attempts
from config_core.errors import CascadaError, Reason
from service_core.status import CODES, from_status

_DETAILS_KEY = "grpc-status-details-bin"

EXIT_CODES: Mapping[Reason, ExitCode] = MappingProxyType(
    {
        Reason.INVALID_CONFIGURATION: ExitCode.USAGE,
        Reason.INVALID_ARGUMENT: ExitCode.USAGE,
        Reason.UNAUTHENTICATED: ExitCode.REFUSED,
        Reason.PERMISSION_DENIED: ExitCode.REFUSED,
        Reason.POLICY_VIOLATION: ExitCode.REFUSED,
        Reason.CREDENTIAL_MISSING: ExitCode.CREDENTIAL,
        Reason.CALLER_CREDENTIAL_REJECTED: ExitCode.CREDENTIAL,
        Reason.UPSTREAM_CREDENTIAL_REJECTED: ExitCode.CREDENTIAL,
    }
)
"""The exit codes of reasons; any other is FAILED."""


def unreachable(service: str, target: str) -> CommandError:
    """The service does not answer at its target."""
    return CommandError(
        f"The {service} service can't be reached at {target}: check that it runs, that the target "
        "is right and that both sides use TLS (--tls, --ca, --cert) or neither, or leave --target "
        "out and let the command start its own services.",
        ExitCode.UNREACHABLE,
        details={"code": grpc.StatusCode.UNAVAILABLE.name, "metadata": {"service": service}},
    )


def of_call(error: grpc.aio.AioRpcError, service: str, target: str) -> CommandError:
    """The failure of a call to a service."""
    sent = any(key == _DETAILS_KEY for key, _ in error.trailing_metadata() or ())
    if error.code() is grpc.StatusCode.UNAVAILABLE and not sent:
        return unreachable(service, target)
    return of_error(from_status(error, service, target))


def of_error(error: CascadaError) -> CommandError:
    """The failure that one of our errors makes."""
    reason = error.code_reason
    details: dict[str, Any] = {
        "code": CODES[reason].name,
        "reason": reason.name,
        "metadata": error.metadata,
        "violations": [
            {
                "field": violation.field,
                "description": violation.description,
                "reason": violation.reason.name,
            }
            for violation in error.violations
        ],
    }
    if error.retry_after is not None:
        details["retry_after_seconds"] = error.retry_after
    hops = [hop for hop in error.hops if isinstance(hop, configuration_trace_pb2.HopReport)]
    if hops:
        trace = configuration_trace_pb2.ConfigurationTrace(hops=hops)
        details["configuration_trace"] = as_document(trace)
    return CommandError(
        error.message,
        EXIT_CODES.get(reason, ExitCode.FAILED),
        details=details,
        notes=[*_notes(error), *(line for hop in hops for line in attempts(hop))],
    )


def _notes(error: CascadaError) -> Iterator[str]:
    """What the sentence does not say: the other violations, the wait, the reason."""
    if len(error.violations) > 1:
        for violation in error.violations:
            yield f"{violation.field}: {violation.description}"
    if error.retry_after is not None:
        yield f"try again in {error.retry_after:.0f} s"
    yield f"reason: {error.code_reason.name}"
