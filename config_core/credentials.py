"""The credential of each place, as one tenant may use it.

The deciding layer's own key or reference comes first; else what is registered for exactly that
place, at the tenant, in the file, in the environment. A tenant's own credential is never bypassed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from config_core.configuration_file import ConfigurationFile, SecretEntry, SecretOrigin
from config_core.connection import Credential, Owner
from config_core.errors import (
    CascadaError,
    CredentialMissingError,
    InvalidConfigurationError,
    Violation,
)
from config_core.layer import field_path
from config_core.model_configuration import ConnectionKind, ModelConfiguration, ModelProvider
from config_core.place import Claim, Place
from config_core.secrets import SecretReader, SecretUnavailableError
from config_core.source import Source
from config_core.sources.environment import Environment

_OWN_FIRST: Mapping[ConnectionKind, tuple[ConnectionKind, ...]] = {
    "chat": ("chat", "embedding"),
    "embedding": ("embedding", "chat"),
}


@dataclass(frozen=True, slots=True)
class Registered:
    """A credential that is registered for a place, before it is read."""

    origin: SecretStr | SecretOrigin
    source: Source
    owner: Owner

    @property
    def is_tenants(self) -> bool:
        """Whether it is registered for the tenant alone, and so is never passed over."""
        return self.source is Source.TENANT or self.owner is Owner.TENANT


class Credentials:
    """The credentials that the operator and one tenant have registered.

    `None` stands for every tenant that the file does not name.
    """

    def __init__(
        self,
        document: ConfigurationFile,
        environment: Environment,
        secrets: SecretReader,
        tenant: str | None,
    ) -> None:
        self._document = document
        self._environment = environment
        self._secrets = secrets
        self._tenant = tenant
        self._known: dict[tuple[ConnectionKind, ModelProvider, str], tuple[Registered, ...]] = {}

    def find(
        self, kind: ConnectionKind, place: Place, claim: Claim
    ) -> tuple[Credential | None, CascadaError | None]:
        """The credential, or what its absence makes whoever would call the place raise."""
        named = claim.key is not None or claim.reference is not None
        if named and not self._is_passed_over(kind, place, claim):
            if claim.key is not None:
                return Credential(claim.key, claim.source, _owner_of_layer(claim.source)), None
            assert claim.reference is not None
            return self._referenced(kind, place, claim, claim.reference)
        for registered in self._registered(kind, place):
            try:
                key = self._read(registered.origin)
            except SecretUnavailableError:
                break  # one that can't be read is never passed over for another one
            return Credential(key, registered.source, registered.owner), None
        return None, _missing(kind, place)

    def _is_passed_over(self, kind: ConnectionKind, place: Place, claim: Claim) -> bool:
        """Whether something else holds than the credential that the deciding layer names."""
        if claim.source is Source.ENVIRONMENT and self._replaces_environment(place):
            return True
        return claim.source > Source.TENANT and self.has_tenants(kind, place)

    def has_tenants(self, kind: ConnectionKind, place: Place) -> bool:
        """Whether the tenant has a credential of its own for this place."""
        registered = self._registered(kind, place)
        return bool(registered) and registered[0].is_tenants

    def _read(self, origin: SecretStr | SecretOrigin) -> SecretStr:
        return origin if isinstance(origin, SecretStr) else self._secrets.read(origin)

    def _referenced(
        self, kind: ConnectionKind, place: Place, claim: Claim, reference: str
    ) -> tuple[Credential | None, CascadaError | None]:
        entry = self._document.secrets.get(reference)
        if entry is None or not place.fits(entry) or not entry.serves(self._tenant):
            return None, _unknown_secret(kind, claim, reference)
        try:
            key = self._read(entry.origin)
        except SecretUnavailableError:
            return None, _missing(kind, place)
        return Credential(key, claim.source, self._owner_of(entry), reference), None

    def _owner_of(self, entry: SecretEntry) -> Owner:
        return Owner.TENANT if entry.is_own(self._tenant) else Owner.OPERATOR

    def _registered(self, kind: ConnectionKind, place: Place) -> tuple[Registered, ...]:
        """Every credential registered for exactly this place."""
        if place.endpoint and place.endpoint not in self._document.endpoints:
            return ()  # only the sender has registered it, whatever else bears its name here
        key = (kind, place.provider, place.endpoint)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = tuple(self._all(kind, place))
        return known

    def _all(self, kind: ConnectionKind, place: Place) -> Iterator[Registered]:
        """The tenant's, the file's, the environment's."""
        document, tenant = self._document, self._tenant
        profile = None if tenant is None else document.tenants.get(tenant)
        if profile is not None:
            given = profile.credentials.get(place.entry_name)
            if given is not None and given.origin is not None:
                yield Registered(given.origin, Source.TENANT, Owner.TENANT)
            elif given is not None and given.secret_ref is not None:
                entry = document.secrets[given.secret_ref]
                yield Registered(entry.origin, Source.TENANT, self._owner_of(entry))
            yield from self._of_layer(profile.model_configuration, kind, place, Source.TENANT)
        secrets = [
            entry for entry in document.secrets_for(place.entry_name, tenant) if place.fits(entry)
        ]
        own = [entry for entry in secrets if entry.is_own(tenant)]
        shared = [entry for entry in secrets if not entry.is_own(tenant)]
        for entry in own:
            yield Registered(entry.origin, Source.FILE, Owner.TENANT)
        yield from self._of_layer(document.defaults, kind, place, Source.FILE)
        for entry in shared:
            yield Registered(entry.origin, Source.FILE, Owner.OPERATOR)
        if not self._replaces_environment(place):
            yield from self._of_environment(kind, place)

    def _of_environment(self, kind: ConnectionKind, place: Place) -> Iterator[Registered]:
        environment = self._environment
        yield from self._of_layer(environment.configuration, kind, place, Source.ENVIRONMENT)
        variables = environment.connections.get(place.provider)
        if not place.endpoint and variables is not None and variables.api_key is not None:
            yield Registered(variables.api_key, Source.ENVIRONMENT, Owner.OPERATOR)

    def _replaces_environment(self, place: Place) -> bool:
        """Whether the file has the provider's own service, and so replaces the environment's."""
        return not place.endpoint and place.entry_name in self._document.endpoints

    def _of_layer(
        self, layer: ModelConfiguration, kind: ConnectionKind, place: Place, source: Source
    ) -> Iterator[Registered]:
        """What a layer registers for the place; the operation's own before the other's."""
        for each in _OWN_FIRST[kind]:
            if self._place_of(layer, each) != place:
                continue
            key = getattr(layer, f"{each}_api_key")
            reference = getattr(layer, f"{each}_secret_ref")
            if key is not None:
                yield Registered(key, source, _owner_of_layer(source))
            elif reference is not None and reference in self._document.secrets:
                entry = self._document.secrets[reference]
                if place.fits(entry) and entry.serves(self._tenant):
                    yield Registered(entry.origin, source, self._owner_of(entry))

    def _place_of(self, layer: ModelConfiguration, kind: ConnectionKind) -> Place | None:
        endpoint = getattr(layer, f"{kind}_endpoint")
        provider = getattr(layer, f"{kind}_provider")
        if endpoint is not None and endpoint in self._document.endpoints:
            provider = self._document.endpoints[endpoint].provider
        return None if provider is None else Place.of(provider, endpoint)


def _owner_of_layer(source: Source) -> Owner:
    if source in (Source.REQUEST, Source.PREFERENCE):
        return Owner.CALLER
    return Owner.TENANT if source is Source.TENANT else Owner.OPERATOR


def _unknown_secret(kind: ConnectionKind, claim: Claim, reference: str) -> CascadaError:
    """The same for a name that is unknown, another tenant's, or another connection's."""
    name = f"{kind}_secret_ref"
    if claim.alternative is not None:
        name = f"fallbacks.alternatives[{claim.alternative}].secret_ref"
    path = field_path(claim.source, name)
    why = f"there is no secret {reference!r} for this connection and tenant"
    if claim.source in (Source.REQUEST, Source.PREFERENCE):
        return InvalidConfigurationError([Violation(path, why)])
    return CredentialMissingError(
        f"{path}: {why}. The operator has to register it under secrets in the configuration file."
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
