"""The identity part of the configuration file: who may call, for which tenant, in which roles.

{tokens: {NAME: {sha256, tenant, roles}},
 certificates: {NAME: {uri | dns | common_name, tenant, roles}},
 issuers: {NAME: {issuer, audiences, jwks: {file | url, ca_file?}, algorithms?, leeway_seconds?,
                  tenant | tenant_claim, tenants?, roles?, roles_claim?, role_names?}},
 reflection?, configuration_service?}

Where this part stands in the file, identity is on, and a caller that it does not name is refused.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from config_core.model_configuration import FrozenModel, ReferenceName


class Role(StrEnum):
    """What a caller may do; `service_core.identity.access` has the calls of each."""

    CALLER = "caller"
    """Asks questions, searches and reads collections."""
    INDEXER = "indexer"
    """Writes and removes documents and collections."""
    OPERATOR = "operator"
    """Sees what is the operator's, such as circuits and fingerprints of the operator's keys."""
    SERVICE = "service"
    """The service before this one, or a gateway: speaks for any tenant; its provenance holds."""


class Access(StrEnum):
    """Who may use what is not part of the answers themselves."""

    OPEN = "open"
    """Everybody, without an identity."""
    IDENTIFIED = "identified"
    """Every identity."""
    OPERATOR = "operator"
    """Identities with the role operator."""
    OFF = "off"
    """Nobody: it is as if it were not served."""


Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
"""How a token may be signed: none with a shared secret, and never `none`."""


def _tenant(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable")
    return value


def _https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("must be an https:// address")
    if parts.username or parts.password:
        raise ValueError("must not contain a credential")
    return value


TenantName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tenant)]
Text = Annotated[str, Field(min_length=1, max_length=512)]
Roles = Annotated[tuple[Role, ...], Field(min_length=1)]


class Grant(FrozenModel):
    """What an identity stands for."""

    tenant: TenantName | None = None
    """The tenant that it acts for; only the role service may do without, and acts for any."""
    roles: Roles
    """What it may do."""

    @model_validator(mode="after")
    def _has_tenant(self) -> Self:
        if self.tenant is None and Role.SERVICE not in self.roles:
            raise ValueError("needs a tenant, unless it has the role service")
        return self


class TokenEntry(Grant):
    """A bearer token, known by its hash alone; `cascada token new` makes both."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the token, in lower-case hexadecimal digits."""


class CertificateEntry(Grant):
    """A client certificate, known by exactly one of its names."""

    uri: Text | None = None
    """A URI among its subject's alternative names, such as spiffe://example.org/query."""
    dns: Text | None = None
    """A DNS name among its subject's alternative names."""
    common_name: Text | None = None
    """The common name of its subject."""

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if sum(name is not None for name in (self.uri, self.dns, self.common_name)) != 1:
            raise ValueError("give exactly one of uri, dns and common_name")
        return self


class KeySetOrigin(FrozenModel):
    """Where an issuer's public keys (a JSON Web Key Set) are: exactly one of file and url."""

    file: Text | None = None
    """Path of a file; read again when it changes."""
    url: Annotated[Text, AfterValidator(_https)] | None = None
    """An https:// address; asked again after an hour, and for a key that is not known yet."""
    ca_file: Text | None = None
    """For the url: certificates of the authorities that vouch for its server, instead of the
    public ones."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("give either file or url")
        if self.ca_file is not None and self.url is None:
            raise ValueError("ca_file belongs to a url")
        return self


class IssuerEntry(FrozenModel):
    """Who issues signed tokens (JWT), and what they stand for."""

    issuer: Text
    """The `iss` of its tokens."""
    audiences: Annotated[tuple[Text, ...], Field(min_length=1)]
    """A token's `aud` must hold one of these."""
    jwks: KeySetOrigin
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = (
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
    )
    leeway_seconds: Annotated[float, Field(ge=0, le=120)] = 30.0
    """By how much the clocks may differ."""
    tenant: TenantName | None = None
    """The tenant of all its tokens."""
    tenant_claim: Text | None = None
    """The claim that holds a token's tenant."""
    tenants: Annotated[tuple[TenantName, ...], Field(min_length=1)] | None = None
    """With tenant_claim: the tenants that it may speak of; absent means any."""
    roles: tuple[Role, ...] = ()
    """The roles of all its tokens."""
    roles_claim: Text | None = None
    """The claim that holds further roles, as a list or as words in a string."""
    role_names: Mapping[Text, Role] = Field(default_factory=dict)
    """Which role a word of roles_claim stands for; absent, `caller` and `indexer` for themselves:
    more than that an issuer gives only where it is named here. Other words are ignored."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tenant is not None and self.tenant_claim is not None:
            raise ValueError("give either tenant or tenant_claim")
        if self.tenants is not None and self.tenant_claim is None:
            raise ValueError("tenants limits tenant_claim, which is not given")
        if not self.roles and self.roles_claim is None:
            raise ValueError("give roles, roles_claim or both")
        if self.role_names and self.roles_claim is None:
            raise ValueError("role_names translates roles_claim, which is not given")
        if self.tenant is None and self.tenant_claim is None and Role.SERVICE not in self.roles:
            raise ValueError("give tenant or tenant_claim, unless its roles hold service")
        return self


class IdentityRules(FrozenModel):
    """Who may call. A name is what an identity is called in logs."""

    tokens: Mapping[ReferenceName, TokenEntry] = Field(default_factory=dict)
    certificates: Mapping[ReferenceName, CertificateEntry] = Field(default_factory=dict)
    issuers: Mapping[ReferenceName, IssuerEntry] = Field(default_factory=dict)
    reflection: Access = Access.IDENTIFIED
    """Who may ask a server for its descriptors."""
    configuration_service: Literal[Access.IDENTIFIED, Access.OPERATOR, Access.OFF] = (
        Access.IDENTIFIED
    )
    """Who may call ConfigurationService: callers and operators, operators alone, or nobody."""

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        _no_two("tokens", ((name, entry.sha256) for name, entry in self.tokens.items()))
        _no_two(
            "certificates",
            (
                (name, (entry.uri, entry.dns, entry.common_name))
                for name, entry in self.certificates.items()
            ),
        )
        _no_two("issuers", ((name, entry.issuer) for name, entry in self.issuers.items()))
        return self


def _no_two(part: str, entries: Iterable[tuple[str, object]]) -> None:
    """Raise ValueError for two entries that would mean the same caller."""
    seen: dict[object, str] = {}
    for name, known_by in entries:
        other = seen.setdefault(known_by, name)
        if other != name:
            raise ValueError(f"{part}: {other} and {name} are known by the same thing")
