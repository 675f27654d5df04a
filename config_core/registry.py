"""What the operator has registered for one tenant: endpoints, and the credential of each connection.

A credential is only ever joined with the address that it was registered for. The provider's own service
(no endpoint) has one address for each origin of a key:

- an endpoint of the file that is named like the provider replaces the provider's service for everyone;
- a key from the environment, or one that a request brings, goes to X_BASE_URL if that is set;
- a key from the file, a tenant's or a registered secret, goes to the provider's public address.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import SecretStr

from config_core.configuration_file import (
    ConfigurationFile,
    EndpointEntry,
    SecretEntry,
    SecretOrigin,
)
from config_core.connection import PUBLIC_BASE_URL, Connection, Credential, Owner
from config_core.errors import (
    CascadaError,
    CredentialMissingError,
    InvalidConfigurationError,
    Violation,
)
from config_core.model_configuration import ConnectionKind, ModelConfiguration, ModelProvider
from config_core.secrets import SecretReader, SecretUnavailableError
from config_core.source import Source
from config_core.sources.environment import Environment, EnvironmentConnection
from config_core.sources.request import ForwardedConnection


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection goes, before its credential is known."""

    provider: ModelProvider
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the deciding layer says of the credential: its own key, a reference, or neither."""

    source: Source
    key: SecretStr | None = None
    reference: str | None = None


class Registry:
    """The registered endpoints and credentials, as one tenant may use them."""

    def __init__(
        self,
        document: ConfigurationFile,
        environment: Environment,
        secrets: SecretReader,
        tenant: str,
        forwarded: Iterable[ForwardedConnection] = (),
    ) -> None:
        self._document = document
        self._environment = environment
        self._secrets = secrets
        self._tenant = tenant
        self._forwarded = {
            (Place(sent.provider, sent.endpoint), sent.secret_ref): sent for sent in forwarded
        }

    def provider_of(self, endpoint: str) -> ModelProvider | None:
        """The provider that a registered endpoint implies; `None` for an unknown name."""
        entry = self._document.endpoints.get(endpoint)
        if entry is not None:
            return entry.provider
        return next(
            (place.provider for place, _ in self._forwarded if place.endpoint == endpoint), None
        )

    def connect(
        self, kind: ConnectionKind, place: Place, claim: Claim
    ) -> tuple[Connection, CascadaError | None]:
        """The connection, and what is to be raised by whoever would call it without a credential."""
        if place.provider is ModelProvider.LOCAL and not place.endpoint:
            return Connection(place.provider, "", "", False, claim.source, keyless=True), None
        reference = claim.reference or ""
        sent = None if claim.key is not None else self._forwarded.get((place, reference))
        if sent is not None and not self._own_outranks(place, claim, sent):
            return self._as_sent(place, claim, sent), None
        credential, problem = self._credential(kind, place, claim)
        entry = self._entry(place)
        if entry is not None:
            base_url, private = entry.base_url, entry.private
        elif place.endpoint:
            base_url, private = self._sent_address(place)
        else:
            base_url, private = self._own_service(place.provider, credential)
        connection = Connection(
            provider=place.provider,
            endpoint=place.endpoint,
            base_url=base_url,
            private=private,
            source=claim.source,
            credential=credential,
            space=(entry and entry.space) or place.endpoint,
            keyless=place.provider is ModelProvider.LOCAL or (entry is not None and entry.keyless),
        )
        return connection, None if connection.keyless else problem

    def _entry(self, place: Place) -> EndpointEntry | None:
        """The registered endpoint; for the provider's own service, the one that replaces it."""
        entry = self._document.endpoints.get(place.endpoint or place.provider)
        return entry if entry is not None and entry.provider is place.provider else None

    def _replaces_environment(self, place: Place) -> bool:
        """Whether the file has this provider's own service, and so replaces the environment's whole."""
        return not place.endpoint and self._entry(place) is not None

    def _own_service(
        self, provider: ModelProvider, credential: Credential | None
    ) -> tuple[str, bool]:
        """The address of the provider's own service for this key, and whether it may be private."""
        from_file = credential is not None and (
            credential.source in (Source.TENANT, Source.FILE, Source.LOCKED)
            or bool(credential.reference)
        )
        variables = self._environment.connections.get(provider, EnvironmentConnection())
        if variables.base_url is not None and not from_file:
            return variables.base_url, True
        return PUBLIC_BASE_URL.get(provider, ""), False

    def _own_outranks(self, place: Place, claim: Claim, sent: ForwardedConnection) -> bool:
        """Whether the tenant has a credential of its own here, and what was sent is the operator's."""
        return claim.reference is None and not sent.tenants_own and self._has_own(place)

    def _has_own(self, place: Place) -> bool:
        """Whether the tenant has a credential of its own for this place, which is never bypassed."""
        _, _, owner = next(self._registered(place), (None, None, Owner.OPERATOR))
        return owner is Owner.TENANT

    def _sent_address(self, place: Place) -> tuple[str, bool]:
        """The address of an endpoint that only the sender has registered."""
        for known, sent in self._forwarded.items():
            if known[0] == place:
                return sent.base_url, sent.private
        return "", False

    def _as_sent(self, place: Place, claim: Claim, sent: ForwardedConnection) -> Connection:
        owner = Owner.TENANT if sent.tenants_own else Owner.OPERATOR
        return Connection(
            provider=place.provider,
            endpoint=place.endpoint,
            base_url=sent.base_url or PUBLIC_BASE_URL.get(place.provider, ""),
            private=sent.private,
            source=claim.source,
            credential=(
                Credential(sent.api_key, sent.source, owner, sent.secret_ref)
                if sent.api_key is not None
                else None
            ),
            space=sent.space or place.endpoint,
            keyless=sent.api_key is None,
            sent=True,
        )

    def _credential(
        self, kind: ConnectionKind, place: Place, claim: Claim
    ) -> tuple[Credential | None, CascadaError | None]:
        replaced = claim.source is Source.ENVIRONMENT and self._replaces_environment(place)
        if replaced or (claim.source > Source.TENANT and self._has_own(place)):
            claim = Claim(claim.source)
        if claim.key is not None:
            return Credential(claim.key, claim.source, _owner_of_layer(claim.source)), None
        if claim.reference is not None:
            return self._referenced(kind, place, claim.source, claim.reference)
        for origin, source, owner in self._registered(place):
            if isinstance(origin, SecretStr):
                return Credential(origin, source, owner), None
            try:
                return Credential(self._secrets.read(origin), source, owner), None
            except SecretUnavailableError:
                # A registered credential that can't be read is never passed over for another one.
                break
        return None, _missing(kind, place)

    def _referenced(
        self, kind: ConnectionKind, place: Place, source: Source, reference: str
    ) -> tuple[Credential | None, CascadaError | None]:
        entry = self._document.secrets.get(reference)
        if (
            entry is None or not _fits(entry, place) or not entry.serves(self._tenant)
        ):
            return None, _unknown_secret(kind, reference)
        owner = Owner.TENANT if entry.is_own(self._tenant) else Owner.OPERATOR
        try:
            return Credential(self._secrets.read(entry.origin), source, owner, reference), None
        except SecretUnavailableError:
            return None, _missing(kind, place)

    def _registered(
        self, place: Place
    ) -> Iterator[tuple[SecretStr | SecretOrigin, Source, Owner]]:
        """Every credential registered for exactly this place: tenant's, file's, environment's."""
        if place.endpoint and self._entry(place) is None:
            return  # only the sender has registered it, whatever else bears its name here
        profile = self._document.tenants.get(self._tenant)
        if profile is not None:
            given = profile.credentials.get(place.endpoint or place.provider)
            if given is not None and given.origin is not None:
                yield given.origin, Source.TENANT, Owner.TENANT
            elif given is not None and given.secret_ref is not None:
                yield self._document.secrets[given.secret_ref].origin, Source.TENANT, Owner.TENANT
            yield from self._of_layer(profile.model_configuration, place, Source.TENANT)
        secrets = [
            secret
            for secret in self._document.secrets.values()
            if _fits(secret, place) and secret.serves(self._tenant)
        ]
        for secret in secrets:
            if secret.is_own(self._tenant):
                yield secret.origin, Source.FILE, Owner.TENANT
        yield from self._of_layer(self._document.defaults, place, Source.FILE)
        for secret in secrets:
            if not secret.is_own(self._tenant):
                yield secret.origin, Source.FILE, Owner.OPERATOR
        if self._replaces_environment(place):
            return
        yield from self._of_layer(self._environment.configuration, place, Source.ENVIRONMENT)
        variables = self._environment.connections.get(place.provider)
        if not place.endpoint and variables is not None and variables.api_key is not None:
            yield variables.api_key, Source.ENVIRONMENT, Owner.OPERATOR

    def _of_layer(
        self, layer: ModelConfiguration, place: Place, source: Source
    ) -> Iterator[tuple[SecretStr | SecretOrigin, Source, Owner]]:
        for kind in ("chat", "embedding"):
            endpoint = getattr(layer, f"{kind}_endpoint") or ""
            provider = getattr(layer, f"{kind}_provider") or (
                self.provider_of(endpoint) if endpoint else None
            )
            if (provider, endpoint) != (place.provider, place.endpoint):
                continue
            key = getattr(layer, f"{kind}_api_key")
            reference = getattr(layer, f"{kind}_secret_ref")
            if key is not None:
                yield key, source, _owner_of_layer(source)
            elif reference is not None and reference in self._document.secrets:
                secret = self._document.secrets[reference]
                if _fits(secret, place) and secret.serves(self._tenant):
                    yield secret.origin, source, _owner_of_layer(source)


def _fits(secret: SecretEntry, place: Place) -> bool:
    """Whether the secret is registered for exactly this provider and endpoint."""
    return secret.provider is place.provider and (secret.endpoint or "") == place.endpoint


def _owner_of_layer(source: Source) -> Owner:
    if source in (Source.REQUEST, Source.PREFERENCE):
        return Owner.CALLER
    return Owner.TENANT if source is Source.TENANT else Owner.OPERATOR


def _unknown_secret(kind: ConnectionKind, reference: str) -> CascadaError:
    """The same for a name that is unknown, another tenant's, or another connection's."""
    return InvalidConfigurationError(
        [
            Violation(
                f"model_configuration.{kind}_secret_ref",
                f"there is no secret {reference!r} for this connection and tenant",
            )
        ]
    )


def _missing(kind: ConnectionKind, place: Place) -> CascadaError:
    field = f"{kind}_api_key"
    variable = "" if place.endpoint else f"{place.provider.upper()}_API_KEY"
    if place.endpoint:
        beside = f"{kind}_endpoint"
        operator = f"register a secret for endpoint {place.endpoint!r} in the configuration file"
        target = f"endpoint {place.endpoint!r}"
    else:
        beside = f"{kind}_provider"
        operator = f"set {variable} for the service that calls it"
        target = str(place.provider)
    return CredentialMissingError(
        f"There is no API key for {target}: {operator}, or send model_configuration.{beside} "
        f"together with model_configuration.{field}.",
        metadata={
            "provider": str(place.provider),
            "endpoint": place.endpoint,
            "variable": variable,
            "field": field,
        },
    )
