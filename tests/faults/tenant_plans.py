"""Requests of many tenants by kinds: what each says of keys, and which key must come of it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from cascada.config.v1 import model_configuration_pb2

from config_core.convert import provider_to_wire
from config_core.model_configuration import ModelProvider
from tests.faults.tenant_keys import (
    PLACES,
    REGISTERED,
    TENANTS,
    WITH_CREDENTIALS,
    WITH_SECRETS,
    Keys,
    Place,
    secret_of,
    tenant_of,
)
from tests.upstream.formats import NATIVE_DIMENSIONS

Configuration = model_configuration_pb2.ModelConfiguration
Expected = Mapping[tuple[str, Place], str]
"""The name of the key by operation and place: no other key may come, and to nowhere else."""

KINDS = (
    "request",
    "fallback",
    "credential",
    "secret",
    "foreign secret",
    "foreign tenant",
    "environment",
    "inherited",
    "embedding",
    "embedding credential",
    "embedding environment",
    "index",
    "retrieval",
)
EMBEDS = frozenset({"embedding", "embedding credential", "embedding environment"})
REFUSED = frozenset({"foreign secret", "foreign tenant"})
COLLECTION = "notes"


@dataclass(frozen=True)
class Plan:
    """One request."""

    number: int
    kind: str
    tenant: int
    configuration: Configuration
    expected: Expected
    fails_first: bool = False
    """Whether what is called first must fail, so that the fallback is called."""
    context_tenant: str = ""
    ends: str = ""
    """`fault`, `cancelled`, or well."""
    stream: bool = False

    @property
    def text(self) -> str:
        """What is asked: the upstream knows the request by it."""
        return f"request {self.number} of {tenant_of(self.tenant)}"

    @property
    def collection(self) -> str:
        """Where documents go: a collection for each address that makes their vectors."""
        place = next(iter(self.expected))[1]
        return COLLECTION if place == PLACES[0] else f"{COLLECTION}-{place}"


@dataclass
class Plans:
    """All requests, in an order of chance that is the same in every run."""

    keys: Keys
    _combinations: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._combinations = [
            (kind, tenant, at) for kind in KINDS for tenant in range(TENANTS) for at in range(4)
        ]
        random.Random(5).shuffle(self._combinations)  # noqa: S311 # the same in every run

    def plan(self, number: int) -> Plan:
        """The request of this number."""
        kind, tenant, at = self._combinations[number % len(self._combinations)]
        return self.of(number, kind, tenant, at)

    def of(self, number: int, kind: str, tenant: int, at: int) -> Plan:
        """A request of one kind."""
        configuration = Configuration(retry_attempts=number % 2)
        # By then that many have passed, and a key that met a fault meets a good answer.
        turn = number + number // len(self._combinations)
        ends = {1: "fault", 4: "cancelled"}.get(turn % 6, "")
        context_tenant = tenant_of(tenant) if number % 3 else ""
        if kind == "foreign tenant":
            context_tenant = tenant_of((tenant + 1) % TENANTS)
        expected = self._configure(configuration, kind, tenant, at)
        return Plan(
            number,
            kind,
            tenant,
            configuration,
            expected,
            fails_first=kind == "fallback",
            context_tenant=context_tenant,
            ends="" if kind in REFUSED or kind == "index" else ends,
            stream=bool(turn % 2),
        )

    def _configure(self, into: Configuration, kind: str, tenant: int, at: int) -> Expected:
        if kind in ("request", "fallback", "retrieval", "foreign tenant"):
            found = self._with_own_key(into, tenant, PLACES[at])
            if kind == "fallback":
                found |= self._with_fallback(into, tenant, PLACES[(at + 1) % len(PLACES)])
            if kind == "retrieval":
                found |= self._with_embedding(into, tenant, PLACES[0])
            return {} if kind == "foreign tenant" else found
        if kind in ("embedding", "index"):
            place = PLACES[at] if PLACES[at].provider is not ModelProvider.GROQ else PLACES[3]
            return self._with_embedding(into, tenant, place)
        if kind == "environment":
            # OpenAI is what the layers below name for chat: to restate it would change nothing.
            place = PLACES[1 + at % 2]
            into.chat_provider = provider_to_wire(place.provider)
            return {("chat", place): f"environment at {place}"}
        if kind == "embedding environment":
            place = PLACES[2 * (at % 2)]
            into.embedding_provider = provider_to_wire(place.provider)
            _dimension(into, place)
            return {("embeddings", place): f"environment at {place}"}
        if kind == "inherited":
            endpoint = "profile" if tenant < WITH_CREDENTIALS else "defaults"
            name = f"profile of {tenant_of(tenant)}" if endpoint == "profile" else endpoint
            return {("chat", Place(ModelProvider.OPENAI, endpoint)): name}
        return self._registered(into, kind, tenant, REGISTERED[at])

    def _registered(self, into: Configuration, kind: str, tenant: int, place: Place) -> Expected:
        if kind == "embedding credential":
            place = REGISTERED[3] if place.provider is ModelProvider.GROQ else place
            into.embedding_endpoint = place.endpoint
            _dimension(into, place)
            return {("embeddings", place): self._kept(tenant, place)}
        into.chat_endpoint = place.endpoint
        if kind == "foreign secret":
            into.chat_secret_ref = secret_of((tenant + 1) % WITH_SECRETS, place)
            return {}
        if kind == "secret" and tenant < WITH_SECRETS:
            into.chat_secret_ref = secret_of(tenant, place)
            return {("chat", place): f"secret of {tenant_of(tenant)} at {place}"}
        if kind == "secret":
            into.chat_secret_ref = f"shared-{place}"
            return {("chat", place): f"shared at {place}"}
        return {("chat", place): self._kept(tenant, place)}

    def _kept(self, tenant: int, place: Place) -> str:
        """The key that is registered for a tenant without being named."""
        if tenant < WITH_CREDENTIALS:
            return f"credential of {tenant_of(tenant)} at {place}"
        if tenant < WITH_SECRETS:
            return f"secret of {tenant_of(tenant)} at {place}"
        return f"shared at {place}"

    def _with_own_key(
        self, into: Configuration, tenant: int, place: Place
    ) -> dict[tuple[str, Place], str]:
        if place.endpoint:
            into.chat_endpoint = place.endpoint
        else:
            into.chat_provider = provider_to_wire(place.provider)
        into.chat_api_key = self.keys.own("request", tenant, place)
        return {("chat", place): f"request of {tenant_of(tenant)} at {place}"}

    def _with_fallback(
        self, into: Configuration, tenant: int, place: Place
    ) -> dict[tuple[str, Place], str]:
        alternative = into.fallbacks.alternatives.add()
        if place.endpoint:
            alternative.endpoint = place.endpoint
        else:
            alternative.provider = provider_to_wire(place.provider)
        alternative.api_key = self.keys.own("fallback", tenant, place)
        return {("chat", place): f"fallback of {tenant_of(tenant)} at {place}"}

    def _with_embedding(
        self, into: Configuration, tenant: int, place: Place
    ) -> dict[tuple[str, Place], str]:
        if place.endpoint:
            into.embedding_endpoint = place.endpoint
        else:
            into.embedding_provider = provider_to_wire(place.provider)
        _dimension(into, place)
        into.embedding_api_key = self.keys.own("embedding", tenant, place)
        return {("embeddings", place): f"embedding of {tenant_of(tenant)} at {place}"}


def _dimension(into: Configuration, place: Place) -> None:
    """The upstream's vectors are short; Mistral's model takes no dimensions."""
    if place.provider is ModelProvider.OPENAI:
        into.embedding_dimensions = NATIVE_DIMENSIONS
