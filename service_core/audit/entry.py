"""What a line of the audit says: who asked for what, what ran with whose key, what came of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from cascada.config.v1 import configuration_trace_pb2
from pydantic import SecretStr

from config_core.convert import provider_from_wire
from config_core.effective import EffectiveConfiguration, Target
from config_core.fingerprint import fingerprint
from service_core.attempts import Attempt, Outcome
from service_core.identity.caller import Caller
from service_core.log_lines import ids_of_record, own_texts
from service_core.record import Record
from service_core.redaction import redact
from service_core.request_context import context_of, tenant_of
from service_core.trace import HopReport, RemoteHop

_LONGEST = 256
_OPERATIONS = {1: "chat", 2: "embedding"}
_NOT_CONTENT = ("configuration_trace", "embeddings", "model_configuration", "provenance")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that has ended."""

    service: str
    method: str
    peer: str
    """The address that the call came from, as gRPC writes it."""
    caller: Caller | None
    request: Any
    """The request, or the first message of a stream; None where it was not read."""
    response: Any
    """What was answered, the last message of a stream; None where nothing was."""
    record: Record
    enters: bool
    """Whether it came from outside, and not from another service on behalf of a request."""
    code: str
    reason: str
    duration: float
    """Seconds."""

    def facts(self, fingerprint_key: SecretStr | None, *, content: bool) -> dict[str, Any]:
        """The line. Without a key of their own there are no fingerprints."""
        hops = [_hop(hop, fingerprint_key) for hop in self.record.hops]
        hops = [hop for hop in hops if hop]
        if not hops and self.record.effective is not None:
            hops = [_operation(self.service, self.record.effective, fingerprint_key)]
        main = _main(hops)
        return {
            "service": self.service,
            "method": self.method,
            "entry": self.enters,
            **self._who(),
            **{name: main.get(name, "") for name in _SHOWN},
            "attempts": sum(hop["attempts"] for hop in hops),
            "input_tokens": sum(hop["input_tokens"] for hop in hops),
            "output_tokens": sum(hop["output_tokens"] for hop in hops),
            "code": self.code,
            "reason": self.reason,
            "duration_ms": round(self.duration * 1000, 1),
            **({"hops": hops} if len(hops) > 1 else {}),
            **(self._content() if content else {}),
        }

    def _who(self) -> dict[str, str]:
        caller, context = self.caller, context_of(self.request)
        tenant = tenant_of(self.request, caller) or (caller.tenant if caller else "") or ""
        ids = ids_of_record(self.record)
        ids.setdefault("trace_id", context.trace_id[:_LONGEST] if context else "")
        return {
            "caller": caller.name if caller is not None else "",
            "peer": unquote(self.peer),
            **ids,
            "tenant": tenant[:_LONGEST],
        }

    def _content(self) -> dict[str, Any]:
        return {
            name: {
                field: value
                for field, value in redact(message).items()
                if field not in _NOT_CONTENT
            }
            for name, message in (("request", self.request), ("response", self.response))
            if message is not None
        }


# Names of our own, so that a line with them is not looked through for keys.
own_texts("key", "key_owner", "key_source")

_SHOWN = (
    "operation",
    "provider",
    "endpoint",
    "model",
    "digest",
    "snapshot",
    "key",
    "key_owner",
    "key_source",
)


def _main(hops: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The operation that the answer came from: what was called, and of that chat before all."""
    ranked = sorted(hops, key=lambda hop: (hop["attempts"] == 0, hop["operation"] != "chat"))
    return ranked[0] if ranked else {}


def _hop(hop: object, key: SecretStr | None) -> dict[str, Any]:
    if isinstance(hop, HopReport):
        return _operation(hop.service, hop.effective, key, hop)
    return _remote(hop) if isinstance(hop, RemoteHop) else {}


def _operation(
    service: str,
    effective: EffectiveConfiguration,
    key: SecretStr | None,
    report: HopReport | None = None,
) -> dict[str, Any]:
    """One operation of this service."""
    called = [attempt for attempt in report.attempts if _was_called(attempt)] if report else []
    target = _target(effective, called[-1] if called else None)
    credential = target.connection.credential
    facts = {
        "service": service,
        "operation": str(effective.kind),
        "provider": str(target.connection.provider),
        "endpoint": target.connection.endpoint,
        "model": (report.resolved_model if report else "") or target.model,
        "digest": effective.digest,
        "snapshot": effective.snapshot_version,
        "attempts": len(called),
        "input_tokens": report.usage.input_tokens if report and report.usage else 0,
        "output_tokens": report.usage.output_tokens if report and report.usage else 0,
    }
    if credential is not None:
        facts["key"] = fingerprint(credential.key, key) if key is not None else ""
        facts["key_owner"] = str(credential.owner)
        facts["key_source"] = credential.source.name
    return facts


def _was_called(attempt: Attempt) -> bool:
    return attempt.outcome is not Outcome.SKIPPED


def _target(effective: EffectiveConfiguration, attempt: Attempt | None) -> Target:
    """The target of the last attempt."""
    if attempt is not None:
        for target in effective.targets:
            connection = target.connection
            asked = (connection.provider, connection.endpoint, target.model)
            if asked == (attempt.provider, attempt.endpoint, attempt.model):
                return target
    return effective.primary


def _remote_model(
    hop: configuration_trace_pb2.HopReport, called: Sequence[configuration_trace_pb2.Attempt]
) -> str:
    """The model that answered or, where none did, that of the last call."""
    succeeded = configuration_trace_pb2.ATTEMPT_OUTCOME_SUCCEEDED
    if called and called[-1].outcome != succeeded:
        return called[-1].model
    return hop.effective.resolved_model


def _remote(hop: configuration_trace_pb2.HopReport) -> dict[str, Any]:
    """One operation of a service behind this one, as its report tells."""
    kind = _OPERATIONS.get(hop.operation, "")
    skipped = configuration_trace_pb2.ATTEMPT_OUTCOME_SKIPPED
    called = [attempt for attempt in hop.attempts if attempt.outcome != skipped]
    values = hop.effective.values
    named = called[-1].provider if called else getattr(values, f"{kind}_provider", 0)
    facts = {
        "service": hop.service,
        "operation": kind,
        "provider": str(provider_from_wire(named) or ""),
        "endpoint": called[-1].endpoint if called else getattr(values, f"{kind}_endpoint", ""),
        "model": _remote_model(hop, called),
        "digest": hop.effective.digest,
        "snapshot": hop.effective.snapshot_version,
        "attempts": len(called),
        "input_tokens": hop.usage.input_tokens,
        "output_tokens": hop.usage.output_tokens,
    }
    key = hop.effective.key_fingerprints.get(kind, "")
    return {**facts, "key": key} if key else facts
