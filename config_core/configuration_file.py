"""The operator's configuration file: its form, its JSON schema, and how it is read.

    {defaults, tenants: {NAME: {model_configuration, credentials, policy}},
     endpoints: {NAME: {provider, base_url, space?, private?, keyless?}},
     secrets: {NAME: {provider, endpoint?, tenants, from: {env|file}}}, policy}
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from config_core.capabilities import option_problem
from config_core.errors import ConfigurationFileError
from config_core.model_configuration import (
    CONNECTION_FIELDS,
    FrozenModel,
    ModelConfiguration,
    ModelProvider,
    Provider,
    ReferenceName,
)
from config_core.policy import Policy
from config_core.validation import problems_of

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

    def serves(self, tenant: str) -> bool:
        """Whether the tenant may use it."""
        return tenant in self.tenants or ANY_TENANT in self.tenants

    def is_own(self, tenant: str) -> bool:
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
    """An address that speaks a provider's protocol. Named like its provider, it replaces its service."""

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


def read(path: Path) -> tuple[ConfigurationFile, str]:
    """The file's content and version; raises ConfigurationFileError with the path of each problem."""
    try:
        raw = json.loads(path.read_bytes(), object_pairs_hook=_no_duplicates)
    except OSError as error:
        raise ConfigurationFileError(str(path), [("", error.strerror or "unreadable")]) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigurationFileError(str(path), [(where, "is not valid JSON")]) from None
    except UnicodeDecodeError:
        raise ConfigurationFileError(str(path), [("", "is not UTF-8 text")]) from None
    except _DuplicateKeyError as error:
        raise ConfigurationFileError(str(path), [(error.key, "stands twice")]) from None
    except (RecursionError, ValueError):
        why = "is nested too deeply or holds a number of too many digits"
        raise ConfigurationFileError(str(path), [("", why)]) from None
    return parse(raw, str(path)), version_of(raw)


def parse(raw: Any, place: str) -> ConfigurationFile:
    """The document as a model; raises ConfigurationFileError naming everything that is wrong."""
    try:
        document = ConfigurationFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationFileError(place, problems_of(error)) from None
    problems = list(_contradictions(document))
    if problems:
        raise ConfigurationFileError(place, problems)
    return document


def version_of(raw: Any) -> str:
    """A content hash; raw keys are left out, so that it tells nothing about them."""
    text = json.dumps(_without_keys(raw), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file."""
    schema = ConfigurationFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class _DuplicateKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(key)
        result[key] = value
    return result


def _without_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: None if key.endswith("api_key") else _without_keys(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_without_keys(entry) for entry in value]
    return value


def _contradictions(document: ConfigurationFile) -> Iterator[tuple[str, str]]:
    """What only shows when the parts are held against one another."""
    layers = [("defaults", document.defaults), ("policy.locks", document.policy.locks)]
    for name, tenant in document.tenants.items():
        place = f"tenants.{name}"
        if not name or len(name) > 128:
            yield place, "a tenant's name has 1 to 128 characters"
        layers.append((f"{place}.model_configuration", tenant.model_configuration))
        layers.append((f"{place}.policy.locks", tenant.policy.locks))
        for target, credential in tenant.credentials.items():
            yield from _credential_problems(document, name, target, credential)
    for place, layer in layers:
        yield from layer_problems(layer, document, place)
    for name, entry in document.endpoints.items():
        if name in set(ModelProvider) and name != entry.provider:
            # What is registered under that name would be sent to both.
            yield f"endpoints.{name}", f"is named like a provider, but belongs to {entry.provider}"
    for name, secret in document.secrets.items():
        if secret.endpoint is not None:
            endpoint = document.endpoints.get(secret.endpoint)
            if endpoint is None:
                yield f"secrets.{name}.endpoint", "is not registered under endpoints"
            elif endpoint.provider is not secret.provider:
                yield f"secrets.{name}.provider", f"the endpoint belongs to {endpoint.provider}"


def _credential_problems(
    document: ConfigurationFile, tenant: str, target: str, credential: CredentialEntry
) -> Iterator[tuple[str, str]]:
    place = f"tenants.{tenant}.credentials.{target}"
    endpoint = document.endpoints.get(target)
    if endpoint is None and target not in {"openai", "groq", "mistral"}:
        yield place, "is neither a provider that takes a key nor registered under endpoints"
    if credential.secret_ref is not None:
        secret = document.secrets.get(credential.secret_ref)
        own = None if target in {"openai", "groq", "mistral"} else target
        if secret is None:
            yield f"{place}.secret_ref", "is not registered under secrets"
        elif not secret.serves(tenant):
            yield f"{place}.secret_ref", "is not registered for this tenant"
        elif secret.endpoint != own or (own is None and secret.provider != target):
            yield f"{place}.secret_ref", "is registered for another provider or endpoint"


def layer_problems(
    layer: ModelConfiguration, document: ConfigurationFile, place: str
) -> Iterator[tuple[str, str]]:
    """What is wrong with one of the operator's own layers, as pairs of path and reason."""
    for kind in CONNECTION_FIELDS:
        provider = getattr(layer, f"{kind}_provider")
        endpoint = getattr(layer, f"{kind}_endpoint")
        key = getattr(layer, f"{kind}_api_key")
        reference = getattr(layer, f"{kind}_secret_ref")
        if provider is None and endpoint is None:
            if key is not None or reference is not None:
                field = "api_key" if key is not None else "secret_ref"
                yield f"{place}.{kind}_{field}", f"needs {kind}_provider or {kind}_endpoint beside it"
        if key is not None and reference is not None:
            yield f"{place}.{kind}_secret_ref", f"give either {kind}_api_key or {kind}_secret_ref"
        if endpoint is not None:
            entry = document.endpoints.get(endpoint)
            if entry is None:
                yield f"{place}.{kind}_endpoint", "is not registered under endpoints"
            elif provider is not None and provider is not entry.provider:
                yield f"{place}.{kind}_provider", f"the endpoint belongs to {entry.provider}"
        if reference is not None:
            secret = document.secrets.get(reference)
            implied = document.endpoints[endpoint].provider if endpoint in document.endpoints else None
            if secret is None:
                yield f"{place}.{kind}_secret_ref", "is not registered under secrets"
            elif secret.endpoint != endpoint or secret.provider is not (implied or provider):
                yield f"{place}.{kind}_secret_ref", "is registered for another provider or endpoint"
    for name, options in (layer.provider_configs or {}).items():
        for option, value in options.items():
            problem = option_problem(name, option, value)
            if problem:
                yield f"{place}.provider_configs.{name}.{option}", problem
    for index, fallback in enumerate(layer.fallbacks.alternatives if layer.fallbacks else ()):
        where = f"{place}.fallbacks.alternatives.{index}"
        if fallback.provider is None and fallback.endpoint is None:
            yield where, "needs a provider or an endpoint"
        if fallback.endpoint is not None:
            registered = document.endpoints.get(fallback.endpoint)
            if registered is None:
                yield f"{where}.endpoint", "is not registered under endpoints"
            elif fallback.provider not in (None, registered.provider):
                yield f"{where}.provider", f"the endpoint belongs to {registered.provider}"
        if fallback.api_key is not None and fallback.secret_ref is not None:
            yield f"{where}.secret_ref", "give either api_key or secret_ref"
