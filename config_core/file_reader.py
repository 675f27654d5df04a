"""Reading the configuration file: JSON, its form, and what only shows between its parts."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config_core.configuration_file import (
    ANY_TENANT,
    ConfigurationFile,
    CredentialEntry,
    EndpointEntry,
    SecretEntry,
    TenantEntry,
)
from config_core.errors import ConfigurationFileError
from config_core.layer_rules import own_problems, registration_problems
from config_core.model_configuration import KEYED_PROVIDERS, ModelConfiguration, ModelProvider
from config_core.place import Place
from config_core.policy import Policy
from config_core.validation import problems_of

MAX_TENANT_LENGTH = 128
Problems = Iterator[tuple[str, str]]


def read(path: Path) -> tuple[ConfigurationFile, str]:
    """The file's content and version; ConfigurationFileError with each problem's path."""
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


def layer_problems(layer: ModelConfiguration, document: ConfigurationFile) -> Problems:
    """What is wrong with one of the operator's own layers."""
    yield from own_problems(layer)
    yield from registration_problems(layer, document)


def _contradictions(document: ConfigurationFile) -> Problems:
    """What only shows when the parts are held against one another."""
    parts = [("defaults", document.defaults), ("policy.locks", document.policy.locks)]
    yield from _placed("policy", _policy_problems(document, document.policy))
    for name, tenant in document.tenants.items():
        place = f"tenants.{name}"
        parts.append((f"{place}.model_configuration", tenant.model_configuration))
        parts.append((f"{place}.policy.locks", tenant.policy.locks))
        yield from _placed(place, _tenant_problems(document, name, tenant))
        yield from _placed(f"{place}.policy", _policy_problems(document, tenant.policy))
    for place, layer in parts:
        yield from _placed(place, layer_problems(layer, document))
    for name, endpoint in document.endpoints.items():
        yield from _placed(f"endpoints.{name}", _endpoint_problems(name, endpoint))
    for name, secret in document.secrets.items():
        yield from _placed(f"secrets.{name}", _secret_problems(document, secret))


def _placed(place: str, problems: Problems) -> Problems:
    for path, why in problems:
        yield f"{place}.{path}" if path else place, why


def _policy_problems(document: ConfigurationFile, policy: Policy) -> Problems:
    for index, name in enumerate(policy.endpoints or ()):
        if name not in document.endpoints and name not in set(ModelProvider):
            yield f"endpoints[{index}]", "is neither registered under endpoints nor a provider"


def _tenant_problems(document: ConfigurationFile, name: str, tenant: TenantEntry) -> Problems:
    if not 1 <= len(name) <= MAX_TENANT_LENGTH:
        yield "", f"a tenant's name has 1 to {MAX_TENANT_LENGTH} characters"
    if name == ANY_TENANT:
        yield "", "is no tenant's name: what holds for everyone stands under defaults and policy"
    for target, credential in tenant.credentials.items():
        problems = _credential_problems(document, name, target, credential)
        yield from _placed(f"credentials.{target}", problems)


def _credential_problems(
    document: ConfigurationFile, tenant: str, target: str, credential: CredentialEntry
) -> Problems:
    endpoint = document.endpoints.get(target)
    if endpoint is not None:
        place = Place.of(endpoint.provider, target)
    elif target in KEYED_PROVIDERS:
        place = Place(ModelProvider(target))
    else:
        yield "", "is neither a provider that takes a key nor registered under endpoints"
        return
    if credential.secret_ref is not None:
        secret = document.secrets.get(credential.secret_ref)
        if secret is None:
            yield "secret_ref", "is not registered under secrets"
        elif not secret.serves(tenant):
            yield "secret_ref", "is not registered for this tenant"
        elif not place.fits(secret):
            yield "secret_ref", "is registered for another provider or endpoint"


def _endpoint_problems(name: str, endpoint: EndpointEntry) -> Problems:
    if name == ModelProvider.LOCAL:
        yield "", "is the model in the service's own process: give the endpoint another name"
    elif name in set(ModelProvider) and name != endpoint.provider:
        # What is registered under that name would be sent to both.
        yield "", f"is named like a provider, but belongs to {endpoint.provider}"


def _secret_problems(document: ConfigurationFile, secret: SecretEntry) -> Problems:
    if secret.endpoint is None:
        return
    endpoint = document.endpoints.get(secret.endpoint)
    if endpoint is None:
        yield "endpoint", "is not registered under endpoints"
    elif endpoint.provider is not secret.provider:
        yield "provider", f"the endpoint belongs to {endpoint.provider}"
