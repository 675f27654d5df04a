"""Keys of many tenants in every place that may hold one, each a canary, and where each belongs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from config_core.model_configuration import ModelProvider
from service_core.identity.tokens import digest_of
from tests.system.canaries import Canaries
from tests.upstream.server import UpstreamServer

TENANTS = 50
WITH_CREDENTIALS = 40
"""The first so many tenants have credentials and a profile of their own."""
WITH_SECRETS = 45
"""The first so many have registered secrets of their own; the others use what is shared."""

OWN_SERVICES = (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
ENDPOINTS = {
    "at-openai": ModelProvider.OPENAI,
    "at-groq": ModelProvider.GROQ,
    "at-mistral": ModelProvider.MISTRAL,
    "house": ModelProvider.OPENAI,
}
"""Registered addresses, at which the keys of the configuration file hold."""
_SINGLE = ("profile", "defaults")

_RUN = re.compile(rb"[ghjkmnpqrtvwxyz]{10,}")
_PART = 10


@dataclass(frozen=True)
class Place:
    """A provider's own service, or a registered endpoint."""

    provider: ModelProvider
    endpoint: str = ""

    def __str__(self) -> str:
        return self.endpoint or str(self.provider)


PLACES = (*(Place(provider) for provider in OWN_SERVICES), Place(ModelProvider.OPENAI, "house"))
"""Where requests bring keys of their own to: three providers and an endpoint."""
REGISTERED = tuple(Place(provider, name) for name, provider in ENDPOINTS.items())
"""Where the operator keeps keys for tenants."""


def tenant_of(number: int) -> str:
    """A tenant's name."""
    return f"tenant-{number}"


@dataclass
class ManyCanaries(Canaries):
    """Thousands of secrets: what comes out is searched at once, by the runs of their letters."""

    names: dict[str, str] = field(default_factory=dict)
    """The names of the secrets, by what they are."""
    _parts: dict[bytes, str] = field(default_factory=dict)
    _leaks: set[str] = field(default_factory=set)

    def saw(self, where: str, what: Message | BaseException | bytes | str) -> None:
        """Search something that came out, in every form that it may be looked at."""
        super().saw(where, what)
        self._leaks.update(f"{name} in {place}" for name, place in self._found())
        self._seen.clear()

    def leaks(self) -> list[str]:
        """Where which secret was found."""
        return sorted(self._leaks)

    def _found(self) -> Iterator[tuple[str, str]]:
        for where, text in self._seen:
            for match in _RUN.finditer(text):
                run = match[0]
                for start in range(len(run) - _PART + 1):
                    name = self._parts.get(run[start : start + _PART])
                    if name is not None:
                        yield name, where

    def seal(self) -> None:
        """Look for the secrets that there are now."""
        self._parts = {
            secret[start : start + _PART].encode(): name
            for name, secret in self.secrets.items()
            for start in range(0, len(secret), _PART)
        }
        self.names = {secret: name for name, secret in self.secrets.items()}


@dataclass
class Keys:
    """Makes every key there is, the operator's files, and the variables of the services."""

    canaries: ManyCanaries
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def document(self, upstream: UpstreamServer) -> dict[str, Any]:
        """The configuration file."""
        names = {**ENDPOINTS, **dict.fromkeys(_SINGLE, ModelProvider.OPENAI)}
        return {
            "defaults": {"chat_endpoint": "defaults", "chat_api_key": self.canaries["defaults"]},
            "endpoints": {
                name: {
                    "provider": provider.value,
                    "base_url": f"{upstream.url(provider)}/{name}",
                    "private": True,
                }
                for name, provider in names.items()
            },
            "secrets": {**self._own_secrets(), **self._shared_secrets()},
            "tenants": {
                tenant_of(number): self._tenant(number) for number in range(WITH_CREDENTIALS)
            },
            "identity": {
                "tokens": {
                    tenant_of(number): {
                        "sha256": digest_of(self.token(number)),
                        "tenant": tenant_of(number),
                        "roles": ["caller", "indexer"],
                    }
                    for number in range(TENANTS)
                }
            },
        }

    def make(self) -> None:
        """Make the rest: keys of requests, and the variables of the providers' own services."""
        for provider in OWN_SERVICES:
            name = f"{provider.name}_API_KEY"
            self.environ[name] = self.canaries[f"environment at {provider}"]
        for number in range(TENANTS):
            for place in PLACES:
                for kind in ("request", "fallback", "embedding"):
                    if kind != "embedding" or place.provider is not ModelProvider.GROQ:
                        self.own(kind, number, place)
        self.canaries.seal()

    def own(self, kind: str, number: int, place: Place) -> str:
        """The key of a tenant's own that a request brings."""
        return self.canaries[f"{kind} of {tenant_of(number)} at {place}"]

    def token(self, number: int) -> str:
        """By which a tenant identifies itself."""
        return self.canaries[f"token of {tenant_of(number)}"]

    def _tenant(self, number: int) -> dict[str, Any]:
        tenant = tenant_of(number)
        return {
            "model_configuration": {
                "chat_endpoint": "profile",
                "chat_api_key": self.canaries[f"profile of {tenant}"],
            },
            "credentials": {
                place.endpoint: {"from": self._kept(f"credential of {tenant} at {place}", number)}
                for number, place in enumerate(REGISTERED, number)
            },
        }

    def _own_secrets(self) -> dict[str, Any]:
        return {
            secret_of(number, place): {
                "provider": place.provider.value,
                "endpoint": place.endpoint,
                "tenants": [tenant_of(number)],
                "from": self._kept(f"secret of {tenant_of(number)} at {place}", number // 2),
            }
            for number in range(WITH_SECRETS)
            for place in REGISTERED
        }

    def _shared_secrets(self) -> dict[str, Any]:
        return {
            f"shared-{place}": {
                "provider": place.provider.value,
                "endpoint": place.endpoint,
                "tenants": ["*"],
                "from": self._kept(f"shared at {place}", number),
            }
            for number, place in enumerate(REGISTERED)
        }

    def _kept(self, name: str, number: int) -> dict[str, str]:
        """Put a key into a variable or a file by turns, and say where it is."""
        plain = re.sub(r"[^a-z0-9]+", "_", name)
        if number % 2:
            path = self.folder / plain
            path.write_text(f"{self.canaries[name]}\n", encoding="ascii")
            return {"file": str(path)}
        self.environ[f"KEPT_{plain.upper()}"] = self.canaries[name]
        return {"env": f"KEPT_{plain.upper()}"}


def secret_of(number: int, place: Place) -> str:
    """The name under which a tenant's secret for a place is registered."""
    return f"{tenant_of(number)}-{place}"
