"""The configuration trace: what ran at each hop, collected on the way back to the caller."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from cascada.common.v1 import error_reason_pb2, usage_pb2
from cascada.config.v1 import configuration_trace_pb2, effective_configuration_pb2
from pydantic import SecretStr

from config_core.convert import provider_to_wire
from config_core.convert_effective import effective_to_wire
from config_core.effective import EffectiveConfiguration
from config_core.errors import CascadaError
from config_core.resolve import Resolution
from config_core.space import EmbeddingSpace
from service_core.attempts import Attempt
from service_core.identity.caller import is_operator
from service_core.record import note_effective, note_hops
from service_core.usage import Usage

_OPERATIONS = {
    "chat": effective_configuration_pb2.OPERATION_CHAT,
    "embedding": effective_configuration_pb2.OPERATION_EMBEDDING,
}


@dataclass(frozen=True, slots=True)
class HopReport:
    """One operation at one service; `duration` in seconds, later hops included."""

    service: str
    effective: EffectiveConfiguration
    duration: float
    attempts: tuple[Attempt, ...] = ()
    usage: Usage | None = None
    collections: tuple[str, ...] = ()
    resolved_model: str = ""
    """The model that the provider says has answered; "" where none has."""
    space: EmbeddingSpace | None = None


def required(service: str, resolution: Resolution) -> EffectiveConfiguration:
    """What was resolved; an error that its violations make carries this hop's report."""
    note_effective(resolution.effective)
    try:
        return resolution.require()
    except CascadaError as error:
        error.hops = (HopReport(service, resolution.effective, 0.0),)
        raise


RemoteHop = configuration_trace_pb2.HopReport
"""The report of a later service, passed on as it came."""

Hop = HopReport | RemoteHop


class Tracer:
    """Puts hops on the wire, with a fingerprint key also the fingerprints of callers' keys.

    An identity with the role operator sees those of the operator's keys too.
    """

    def __init__(self, fingerprint_key: SecretStr | None = None) -> None:
        self._fingerprint_key = fingerprint_key

    def to_wire(self, hops: Iterable[Hop]) -> configuration_trace_pb2.ConfigurationTrace:
        """The trace of an answer."""
        reports = tuple(hops)
        note_hops(reports)
        return configuration_trace_pb2.ConfigurationTrace(
            hops=[hop if isinstance(hop, RemoteHop) else self._report(hop) for hop in reports]
        )

    def of_error(self, error: CascadaError) -> configuration_trace_pb2.ConfigurationTrace | None:
        """The trace of an error as far as it was known; `None` where nothing was."""
        hops = [hop for hop in error.hops if isinstance(hop, HopReport | RemoteHop)]
        return self.to_wire(hops) if hops else None

    def _report(self, hop: HopReport) -> RemoteHop:
        message = RemoteHop(
            service=hop.service,
            operation=_OPERATIONS[hop.effective.kind],
            effective=effective_to_wire(
                hop.effective,
                fingerprint_key=self._fingerprint_key,
                to_operator=is_operator(),
                resolved_model=hop.resolved_model,
                space=hop.space,
            ),
            attempts=[_attempt(attempt) for attempt in hop.attempts],
            collections=hop.collections,
        )
        message.duration.FromTimedelta(timedelta(seconds=hop.duration))
        if hop.usage is not None:
            message.usage.CopyFrom(usage_to_wire(hop.usage))
        return message


def usage_to_wire(usage: Usage) -> usage_pb2.Usage:
    """The message of a usage."""
    return usage_pb2.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)


def usage_from_wire(message: usage_pb2.Usage) -> Usage:
    """The usage that another service reports."""
    return Usage(message.input_tokens, message.output_tokens)


def _attempt(attempt: Attempt) -> configuration_trace_pb2.Attempt:
    message = configuration_trace_pb2.Attempt(
        provider=provider_to_wire(attempt.provider),
        endpoint=attempt.endpoint,
        model=attempt.model,
        outcome=configuration_trace_pb2.AttemptOutcome.Value(
            f"ATTEMPT_OUTCOME_{attempt.outcome.name}"
        ),
        detail=attempt.detail,
        status=attempt.status,
        upstream_request_id=attempt.request_id,
    )
    if attempt.reason is not None:
        message.reason = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{attempt.reason.name}")
    message.wait.FromTimedelta(timedelta(seconds=attempt.wait))
    message.duration.FromTimedelta(timedelta(seconds=attempt.duration))
    return message
