"""What the clients of the next services share: packing, the guard over raw keys, errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from cascada.config.v1 import model_configuration_pb2, provenance_pb2

from config_core.convert import to_wire
from config_core.convert_provenance import provenance_to_wire
from config_core.errors import CascadaError, PermissionDeniedError, Reason, RemoteError
from config_core.forward import Forwarded
from service_core.channel import is_secure_or_local
from service_core.load import Away
from service_core.status import from_status


@dataclass(frozen=True, slots=True)
class NextService:
    """The next service of a hop: its name, where it is, and whether keys may travel there."""

    name: str
    target: str
    tls: bool = False
    allow_insecure: bool = False
    away: Away = field(default_factory=Away)
    """Counts the calls while they last."""

    def pack(
        self, forwarded: Forwarded
    ) -> tuple[model_configuration_pb2.ModelConfiguration, provenance_pb2.Provenance]:
        """What is forwarded, as messages; PermissionDeniedError for a key that must not travel."""
        if forwarded.carries_keys and not is_secure_or_local(
            self.target, tls=self.tls, allow_insecure=self.allow_insecure
        ):
            raise PermissionDeniedError(
                f"A raw key does not travel to the {self.name} service at {self.target} over an "
                "unencrypted connection: use TLS, keep the key where the provider is called, or "
                "set CASCADA_ALLOW_INSECURE=1."
            )
        return to_wire(forwarded.configuration), provenance_to_wire(forwarded)

    @asynccontextmanager
    async def errors(self) -> AsyncIterator[None]:
        """Turn what the call raises into our errors, with the hops that it carries."""
        try:
            async with self.away:
                yield
        except grpc.aio.AioRpcError as error:
            raise self._own(from_status(error, self.name, self.target)) from None

    def _own(self, error: CascadaError) -> CascadaError:
        """The error itself, unless it is about this service's identity and not the caller's."""
        refused = error.code_reason is Reason.PERMISSION_DENIED and "roles" in error.metadata
        if not refused and error.code_reason is not Reason.UNAUTHENTICATED:
            return error
        return RemoteError(
            Reason.INTERNAL,
            f"The {self.name} service refuses the identity of the service before it: its operator "
            "has to give that one a token or certificate with the role service.",
            metadata={"service": self.name},
        )
