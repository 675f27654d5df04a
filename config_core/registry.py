"""What the operator has registered for one tenant, joined to connections.

A credential is only ever joined with the address that it was registered for. What an earlier
service sent comes first: address and key of exactly the connection that it resolved. Else a
registered endpoint has its own address, and the provider's own service one for each origin of a
key:

- an endpoint of the file that is named like the provider replaces its service for everyone;
- a key from the environment, or one that a request brings, goes to X_BASE_URL if that is set;
- a key from the file, a tenant's or a registered secret, goes to the provider's public address.
"""

from collections.abc import Iterable
from typing import NamedTuple

from config_core.configuration_file import ConfigurationFile
from config_core.connection import PUBLIC_BASE_URL, Connection, Credential, Owner
from config_core.credentials import Credentials
from config_core.errors import (
    CascadaError,
    CredentialMissingError,
    InvalidConfigurationError,
    Violation,
)
from config_core.layer import field_path
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.place import Claim, Place
from config_core.source import Source
from config_core.sources.environment import Environment, EnvironmentConnection
from config_core.sources.request import ForwardedConnection

_NO_VARIABLES = EnvironmentConnection()


class _Address(NamedTuple):
    base_url: str
    private: bool
    space: str
    keyless: bool = False


class Registry:
    """The registered endpoints and credentials, as one tenant may use them."""

    def __init__(
        self,
        document: ConfigurationFile,
        environment: Environment,
        credentials: Credentials,
        forwarded: Iterable[ForwardedConnection] = (),
    ) -> None:
        self._document = document
        self._environment = environment
        self._credentials = credentials
        self._forwarded = {
            (sent.kind, Place.of(sent.provider, sent.endpoint), sent.secret_ref): sent
            for sent in forwarded
        }

    def with_forwarded(self, forwarded: Iterable[ForwardedConnection]) -> "Registry":
        """The same, with what an earlier service sent along with one request."""
        return Registry(self._document, self._environment, self._credentials, forwarded)

    def provider_of(self, endpoint: str) -> ModelProvider | None:
        """The provider that a registered endpoint implies; `None` for an unknown name."""
        entry = self._document.endpoints.get(endpoint)
        if entry is not None:
            return entry.provider
        places = (place for _, place, _ in self._forwarded)
        return next((place.provider for place in places if place.endpoint == endpoint), None)

    def was_sent(self, kind: ConnectionKind, place: Place) -> bool:
        """Whether an earlier service sent its own connection to the place along."""
        return (kind, place, "") in self._forwarded

    def connect(
        self, kind: ConnectionKind, place: Place, claim: Claim
    ) -> tuple[Connection, CascadaError | None]:
        """The connection, and what is to be raised by whoever would call it as it is."""
        if place.is_in_process:
            in_process = Connection(
                place.provider, "", "", private=False, source=claim.source, keyless=True
            )
            return in_process, _needless(kind, claim)
        sent = None
        if self._forwarded:
            sent = self._forwarded.get((kind, place, claim.reference or ""))
        if (
            sent is not None
            and claim.key is None
            and not self._outranks(kind, place, claim, sent)
            and (sent.api_key is not None or sent.keyless)
        ):
            return self._as_sent(place, claim, sent), None
        credential, problem = self._credentials.find(kind, place, claim)
        address = self._address(place, credential, sent)
        connection = Connection(
            provider=place.provider,
            endpoint=place.endpoint,
            base_url=address.base_url,
            private=address.private,
            source=claim.source,
            credential=credential,
            space=address.space or place.endpoint,
            keyless=address.keyless,
        )
        if connection.keyless and isinstance(problem, CredentialMissingError):
            problem = None
        return connection, problem

    def _outranks(
        self, kind: ConnectionKind, place: Place, claim: Claim, sent: ForwardedConnection
    ) -> bool:
        """Whether the tenant has a credential of its own here, and what was sent is shared."""
        shared = not sent.tenants_own and sent.source is not Source.TENANT
        return claim.reference is None and shared and self._credentials.has_tenants(kind, place)

    def _address(
        self, place: Place, credential: Credential | None, sent: ForwardedConnection | None
    ) -> _Address:
        callers = credential is not None and credential.owner is Owner.CALLER
        if callers and sent is not None and sent.api_key is None and not sent.keyless:
            # The sender resolved the request's own key, and no other one, to this address.
            return _Address(_sent_url(sent), sent.private, sent.space)
        entry = self._document.endpoints.get(place.entry_name)
        if entry is not None and entry.provider is place.provider:
            keyless = entry.keyless or place.provider is ModelProvider.LOCAL
            return _Address(entry.base_url, entry.private, entry.space or "", keyless)
        if place.endpoint:
            return self._address_elsewhere(place)
        base_url, private = self._own_service(place.provider, credential)
        return _Address(base_url, private, "")

    def _address_elsewhere(self, place: Place) -> _Address:
        """The address of an endpoint that only the sender has registered."""
        for (_, known, _), sent in self._forwarded.items():
            if known == place:
                return _Address(_sent_url(sent), sent.private, sent.space)
        return _Address("", private=False, space="")

    def _own_service(
        self, provider: ModelProvider, credential: Credential | None
    ) -> tuple[str, bool]:
        """The address of the provider's own service for this key, and whether it may be private."""
        from_file = credential is not None and (
            credential.source in (Source.TENANT, Source.FILE, Source.LOCKED)
            or bool(credential.reference)
        )
        variables = self._environment.connections.get(provider, _NO_VARIABLES)
        if variables.base_url is not None and not from_file:
            return variables.base_url, True
        return PUBLIC_BASE_URL.get(provider, ""), False

    def _as_sent(self, place: Place, claim: Claim, sent: ForwardedConnection) -> Connection:
        owner = Owner.TENANT if sent.tenants_own else Owner.OPERATOR
        return Connection(
            provider=place.provider,
            endpoint=place.endpoint,
            base_url=_sent_url(sent),
            private=sent.private,
            source=claim.source,
            credential=(
                Credential(sent.api_key, sent.source, owner, sent.secret_ref)
                if sent.api_key is not None
                else None
            ),
            space=sent.space or place.endpoint,
            keyless=sent.keyless,
            sent=True,
        )


def _sent_url(sent: ForwardedConnection) -> str:
    return sent.base_url or PUBLIC_BASE_URL.get(sent.provider, "")


def _needless(kind: ConnectionKind, claim: Claim) -> CascadaError | None:
    """A key or reference for the model in this process is a mistake, and is not passed over."""
    if claim.key is None and claim.reference is None:
        return None
    name = f"{kind}_api_key" if claim.key is not None else f"{kind}_secret_ref"
    path = field_path(claim.source, name)
    return InvalidConfigurationError(
        [Violation(path, "the local model takes no key: leave it out, or name another provider")]
    )
