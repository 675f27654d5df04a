"""Who a request is for, and whether its sender's word on provenance and keys is taken."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
from cascada.common.v1 import request_context_pb2
from cascada.config.v1 import model_configuration_pb2, provenance_pb2
from google.protobuf.descriptor import Descriptor

from config_core.errors import InvalidArgumentError, PermissionDeniedError, Reason, Violation
from config_core.sources.tenant import DEFAULT_TENANT
from service_core.channel import is_local_peer
from service_core.identity.caller import Caller, current
from service_core.record import note_context

MAX_TENANT_LENGTH = 128
MAX_ID_LENGTH = 256
MAX_COLLECTIONS = 16
"""The most collections that one request searches."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """On whose behalf a request runs; the same over all hops."""

    tenant_id: str
    session_id: str = ""
    task_id: str = ""
    trace_id: str = ""

    def to_wire(self) -> request_context_pb2.RequestContext:
        """The message for the next hop."""
        return request_context_pb2.RequestContext(
            tenant_id=self.tenant_id,
            session_id=self.session_id,
            task_id=self.task_id,
            trace_id=self.trace_id,
        )


def read_context(
    message: request_context_pb2.RequestContext, violations: list[Violation]
) -> RequestContext:
    """The context with tenant and trace id filled in; what is wrong goes to `violations`.

    The tenant is that of whoever calls, where identity is on; PermissionDeniedError for another.
    """
    caller = current()
    if caller is not None:
        check_tenant(message, caller)
    limits = {
        "tenant_id": MAX_TENANT_LENGTH,
        "session_id": MAX_ID_LENGTH,
        "task_id": MAX_ID_LENGTH,
        "trace_id": MAX_ID_LENGTH,
    }
    for name, limit in limits.items():
        value = getattr(message, name)
        if len(value) > limit or not (value == "" or value.isprintable()):
            violations.append(
                invalid(f"context.{name}", f"must be at most {limit} printable characters")
            )
    tenant = message.tenant_id or (caller and caller.tenant) or DEFAULT_TENANT
    return RequestContext(
        tenant_id=tenant,
        session_id=message.session_id,
        task_id=message.task_id,
        trace_id=note_context(tenant, message.trace_id),
    )


def context_of(request: Any) -> request_context_pb2.RequestContext | None:
    """The context of a request, or of the options that open a stream; None where there is none."""
    if request is None:
        return None
    place = _place_of_context(request.DESCRIPTOR)
    if place == "context":
        found: request_context_pb2.RequestContext = request.context
        return found
    return context_of(request.options) if place else None


@cache
def _place_of_context(message: Descriptor) -> str:
    """The field of a message that is, or holds, its context; "" where none does."""
    return next((name for name in ("context", "options") if name in message.fields_by_name), "")


def tenant_of(request: Any, caller: Caller | None) -> str | None:
    """The tenant that a request is for; None for one that is for none."""
    message = context_of(request)
    if message is None:
        return None
    return message.tenant_id or (caller and caller.tenant) or DEFAULT_TENANT


def check_tenant(message: request_context_pb2.RequestContext, caller: Caller) -> None:
    """Raise PermissionDeniedError for a caller that speaks for another tenant than its own."""
    if message.tenant_id and not caller.speaks_for_all and message.tenant_id != caller.tenant:
        raise PermissionDeniedError(
            "context.tenant_id is not the tenant of the identity that calls: leave it out, or "
            "call with an identity of that tenant."
        )


def invalid(field: str, description: str) -> Violation:
    """Something wrong outside the model configuration."""
    return Violation(field, description, Reason.INVALID_ARGUMENT)


def refuse_if(violations: list[Violation]) -> None:
    """Raise InvalidArgumentError with everything that was found."""
    if violations:
        raise InvalidArgumentError(violations)


class Peers:
    """What a service takes from whom."""

    def __init__(self, *, encrypted: bool = False, allow_insecure: bool = False) -> None:
        """`encrypted` says that the server's port is; `allow_insecure` is the operator's word."""
        self._keys_anywhere = encrypted or allow_insecure

    def trusts(self, context: grpc.aio.ServicerContext[Any, Any]) -> bool:
        """Whether the peer's word on where values come from is taken.

        That of an identity with the role service; while identity is off, that of this machine.
        """
        caller = current()
        return is_local_peer(context.peer()) if caller is None else caller.speaks_for_all

    def check_keys(
        self,
        configuration: model_configuration_pb2.ModelConfiguration,
        provenance: provenance_pb2.Provenance | None,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Raise PermissionDeniedError for a raw key that comes unencrypted from elsewhere."""
        if self._keys_anywhere or is_local_peer(context.peer()):
            return
        alternatives = configuration.fallbacks.alternatives
        if (
            configuration.HasField("chat_api_key")
            or configuration.HasField("embedding_api_key")
            or any(alternative.HasField("api_key") for alternative in alternatives)
            or (provenance is not None and len(provenance.connections) > 0)
        ):
            raise PermissionDeniedError(
                "A raw key does not enter over an unencrypted connection: use TLS, name a "
                "registered secret instead, or set CASCADA_ALLOW_INSECURE=1."
            )
