"""The operator's configuration file: its form, its JSON schema, and how it is read.

{defaults, tenants: {NAME: {model_configuration, credentials, policy}},
 endpoints: {NAME: {provider, base_url, space?, private?, keyless?}},
 secrets: {NAME: {provider, endpoint?, tenants, from: {env|file}}}, policy, identity?}
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from config_core.identity import IdentityRules
from config_core.model_configuration import (
    FrozenModel,
    ModelConfiguration,
    Provider,
    ReferenceName,
)
from config_core.policy import Policy

ANY_TENANT = "*"


def base_url(value: str) -> str:
    """An http or https address without credentials, query or fragment; no slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("must not contain a credential: register it under secrets")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or fragment")
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(base_url)]


class SecretOrigin(FrozenModel):
    """Where a secret is read from: exactly one of the two."""

    env: str | None = Field(default=None, min_length=1)
    """Name of an environment variable of the service."""
    file: str | None = Field(default=None, min_length=1)
    """Path of a file that holds nothing but the secret; read again when it changes."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either env or file")
        return self


class SecretEntry(FrozenModel):
    """A secret, tied to its provider, endpoint and tenants."""

    provider: Provider
    endpoint: ReferenceName | None = None
    """The registered endpoint that it belongs to; absent means the provider's own service."""
    tenants: tuple[str, ...] = Field(min_length=1)
    """The tenants that may use it; `*` means all."""
    origin: SecretOrigin = Field(alias="from")

    def serves(self, tenant: str | None) -> bool:
        """Whether the tenant may use it; `None` asks for those that the file does not name."""
        return tenant in self.tenants or ANY_TENANT in self.tenants

    def is_own(self, tenant: str | None) -> bool:
        """Whether it is this tenant's alone."""
        return self.tenants == (tenant,) and tenant != ANY_TENANT


class CredentialEntry(FrozenModel):
    """A tenant's own credential: read from its origin, or one of the registered secrets."""

    origin: SecretOrigin | None = Field(default=None, alias="from")
    secret_ref: ReferenceName | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.origin is None) == (self.secret_ref is None):
            raise ValueError("give either from or secret_ref")
        return self


class EndpointEntry(FrozenModel):
    """An address that speaks a provider's protocol; named like it, it replaces its service."""

    provider: Provider
    base_url: BaseUrl
    """In the form that the provider's SDK takes."""
    space: str | None = Field(default=None, min_length=1, max_length=128)
    """The embedding space of its models; endpoints that declare the same one share it."""
    private: bool = False
    """Whether the address may be private or loopback."""
    keyless: bool = False
    """Whether it takes calls without a key."""


class TenantEntry(FrozenModel):
    """What the operator keeps for one tenant."""

    model_configuration: ModelConfiguration = ModelConfiguration()
    credentials: Mapping[ReferenceName, CredentialEntry] = Field(default_factory=dict)
    """The tenant's own credentials by the name of a provider or registered endpoint."""
    policy: Policy = Policy()


class ConfigurationFile(FrozenModel):
    """The whole file."""

    defaults: ModelConfiguration = ModelConfiguration()
    tenants: Mapping[str, TenantEntry] = Field(default_factory=dict)
    endpoints: Mapping[ReferenceName, EndpointEntry] = Field(default_factory=dict)
    secrets: Mapping[ReferenceName, SecretEntry] = Field(default_factory=dict)
    policy: Policy = Policy()
    identity: IdentityRules | None = None
    """Who may call; absent, everybody may, as long as only this machine is listened to."""

    def secrets_for(self, entry_name: str, tenant: str | None) -> list[SecretEntry]:
        """What is registered for an endpoint, or a provider's own service, that a tenant may use.

        In the order of the file; for `None`, what a tenant that it does not name may use.
        """
        index, entries = self._secrets_index
        names = (ANY_TENANT,) if tenant is None else (tenant, ANY_TENANT)
        numbers = {number for name in names for number in index.get((entry_name, name), ())}
        return [entries[number] for number in sorted(numbers)]

    @cached_property
    def _secrets_index(self) -> tuple[Mapping[tuple[str, str], list[int]], list[SecretEntry]]:
        """There may be one for each of thousands of tenants, and each request looks for its own."""
        entries, index = list(self.secrets.values()), defaultdict[tuple[str, str], list[int]](list)
        for number, entry in enumerate(entries):
            for tenant in entry.tenants:
                index[entry.endpoint or str(entry.provider), tenant].append(number)
        return dict(index), entries


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file."""
    schema = ConfigurationFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
