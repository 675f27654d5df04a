"""No combination of layers joins a key with another provider, endpoint or address than its own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from config_core.connection import PUBLIC_BASE_URL
from config_core.effective import EffectiveConfiguration
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.place import Place
from config_core.snapshot import Snapshot
from config_core.source import Source
from config_core.sources.collection import PinnedSpace
from config_core.sources.preferences import Preferences
from config_core.sources.request import ForwardedConnection, Incoming
from config_core.space import EmbeddingSpace
from tests.unit.config_core.support import TENANT, asked, next_hop, snapshot

KEYED = ("openai", "groq", "mistral")
KINDS: tuple[ConnectionKind, ...] = ("chat", "embedding")
OWNERS = (TENANT, "rival", "*")
Where = tuple[str, str, str]
"""Provider, endpoint and address."""


@dataclass
class Keys:
    """Every key that was handed out, with the places that it may be sent to."""

    allowed: dict[str, set[Where]] = field(default_factory=dict)

    def new(self, label: str, *places: Where) -> str:
        key = f"sk-{label}-{len(self.allowed)}"
        self.allowed[key] = set(places)
        return key


@dataclass
class Service:
    """A service with random layers, and what it knows of addresses."""

    data: st.DataObject
    label: str
    keys: Keys
    environ: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)

    def flag(self) -> bool:
        return self.data.draw(st.booleans())

    def pick(self, options: Iterable[Any]) -> Any:
        return self.data.draw(st.sampled_from(list(options)))

    def build(self) -> Snapshot:
        for name, provider in (("corp", "openai"), ("edge", "groq"), ("lab", "mistral")):
            if self.flag():
                self.endpoints[name] = self._endpoint(name, provider)
        for provider in KEYED:
            self._environment(provider)
        for number in range(self.data.draw(st.integers(0, 3))):
            self._secret(f"s{number}")
        document = {
            "endpoints": self.endpoints,
            "secrets": self.secrets,
            "defaults": self.layer("file", usable=True),
            "tenants": {
                TENANT: {
                    "model_configuration": self.layer("tenant", usable=True),
                    "credentials": self._credentials(usable=True),
                    "policy": {"locks": self._locks()},
                },
                "rival": {
                    "model_configuration": self.layer("rival", usable=False),
                    "credentials": self._credentials(usable=False),
                },
            },
            "policy": {"locks": self._locks()},
        }
        for name, value in self.layer("environment", usable=True).items():
            if name != "fallbacks":
                self.environ[f"CASCADA_{name.upper()}"] = value
        return snapshot(document, self.environ)

    def own(self, provider: str, origin: str) -> Where:
        """The place of the provider's own service for a key of this origin."""
        if provider in self.endpoints:
            return provider, "", self.endpoints[provider]["base_url"]
        public = PUBLIC_BASE_URL[ModelProvider(provider)]
        if origin in ("environment", "request"):
            return provider, "", self.environ.get(f"{provider.upper()}_BASE_URL", public)
        return provider, "", public

    def place(self, provider: str, endpoint: str, origin: str) -> Where:
        if endpoint and endpoint != provider:
            return provider, endpoint, self.endpoints[endpoint]["base_url"]
        return self.own(provider, origin)

    def layer(self, origin: str, *, usable: bool) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for kind in KINDS:
            chosen = self._choice(origin, usable=usable)
            values |= {f"{kind}_{name}": value for name, value in chosen.items()}
        if self.flag():
            alternatives = [self._choice(origin, usable=usable) for _ in range(2)]
            values["fallbacks"] = {"alternatives": [one for one in alternatives if one]}
        return values

    def _environment(self, provider: str) -> None:
        """The provider's own service: replaced by the file, moved and with a key, or neither."""
        if self.flag() and self.flag():
            self.endpoints[provider] = self._endpoint(provider, provider)
        if self.flag():
            self.environ[f"{provider.upper()}_BASE_URL"] = f"https://{self.label}-{provider}.env"
        if self.flag():
            places = [] if provider in self.endpoints else [self.own(provider, "environment")]
            self.environ[f"{provider.upper()}_API_KEY"] = self.keys.new("env", *places)

    def _endpoint(self, name: str, provider: str) -> dict[str, Any]:
        return {"provider": provider, "base_url": f"https://{self.label}-{name}.example"}

    def _choice(self, origin: str, *, usable: bool) -> dict[str, Any]:
        """Provider or endpoint, with a key, a reference that fits, or neither."""
        if not self.flag():
            return {}
        endpoint = self.pick(["", *self.endpoints])
        provider = self.endpoints[endpoint]["provider"] if endpoint else self.pick(KEYED)
        chosen = {"endpoint": endpoint} if endpoint else {"provider": provider}
        credential = self.pick(["none", "key", "reference"])
        place = self.place(provider, endpoint, origin)
        if credential == "key":
            own = endpoint in ("", provider)
            replaced = origin == "environment" and own and provider in self.endpoints
            places = [place] if usable and not replaced else []
            chosen["api_key"] = self.keys.new(origin, *places)
        elif credential == "reference":
            fitting = [
                name
                for name, secret in self.secrets.items()
                if Place.of(secret["provider"], secret.get("endpoint"))
                == Place.of(provider, endpoint or None)
            ]
            # A request may ask for anything; file and environment are checked when they are read.
            names = list(self.secrets) if origin == "request" else fitting
            if names:
                chosen["secret_ref"] = self.pick(names)
        return chosen

    def _secret(self, name: str) -> None:
        endpoint = self.pick(["", *self.endpoints])
        provider = self.endpoints[endpoint]["provider"] if endpoint else self.pick(KEYED)
        owner = self.pick(OWNERS)
        places = [] if owner == "rival" else [self.place(provider, endpoint, "secret")]
        variable = f"{self.label}_{name}".upper()
        self.environ[variable] = self.keys.new(f"secret-{owner}", *places)
        entry = {"provider": provider, "tenants": [owner], "from": {"env": variable}}
        self.secrets[name] = entry | ({"endpoint": endpoint} if endpoint else {})

    def _credentials(self, *, usable: bool) -> dict[str, Any]:
        found = {}
        for name in {*KEYED, *self.endpoints}:
            if not self.flag():
                continue
            variable = f"{self.label}_{name}_{usable}".upper()
            places = []
            if name in self.endpoints:
                provider = self.endpoints[name]["provider"]
                places.append(self.place(provider, name, "tenant"))
            if name in KEYED:
                places.append(self.own(name, "tenant"))
            self.environ[variable] = self.keys.new("own", *(places if usable else []))
            found[name] = {"from": {"env": variable}}
        return found

    def _locks(self) -> dict[str, Any]:
        if not (self.flag() and self.flag()):
            return {}
        return {f"chat_{name}": value for name, value in self._choice("lock", usable=True).items()}


def _check(effective: EffectiveConfiguration, keys: Keys) -> None:
    for target in effective.targets:
        connection = target.connection
        if connection.credential is not None:
            key = connection.credential.key.get_secret_value()
            place = (connection.provider.value, connection.endpoint, connection.base_url)
            assert place in keys.allowed[key], (key, place, keys.allowed[key])


def _pin(service: Service) -> PinnedSpace | None:
    if not service.flag():
        return None
    endpoint = service.pick(["", *service.endpoints])
    provider = service.endpoints[endpoint]["provider"] if endpoint else service.pick(KEYED)
    return PinnedSpace(EmbeddingSpace(ModelProvider(provider), "m", 8), endpoint)


_FEW = settings(
    max_examples=200,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # shrinking so many draws takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@given(data=st.data())
@_FEW
def test_no_layers_pair_a_key_with_a_place_that_is_not_its_own(data: st.DataObject) -> None:
    service = Service(data, "one", Keys())
    built = service.build()
    preferred = Preferences(provider=service.pick(["", *KEYED]))
    incoming = asked(service.layer("request", usable=True), preferred)
    for kind in KINDS:
        pinned = _pin(service) if kind == "embedding" else None
        _check(built.resolve(kind, TENANT, incoming, pinned).effective, service.keys)


@given(data=st.data())
@_FEW
def test_no_forwarding_pairs_a_key_with_a_place_that_is_not_its_own(data: st.DataObject) -> None:
    keys = Keys()
    first, second = Service(data, "one", keys), Service(data, "two", keys)
    sender, receiver = first.build(), second.build()
    values = first.layer("request", usable=True)
    incoming = asked(values)
    effectives = [sender.resolve(kind, TENANT, incoming).effective for kind in KINDS]
    # A caller's key for a place that both know goes to where the service that calls has it.
    names = ("provider", "endpoint", "api_key")
    choices = [{name: values.get(f"{kind}_{name}", "") for name in names} for kind in KINDS]
    for choice in (*choices, *values.get("fallbacks", {}).get("alternatives", ())):
        if not choice.get("api_key"):
            continue
        endpoint = choice.get("endpoint", "")
        named = choice.get("provider") or first.endpoints[endpoint]["provider"]
        if endpoint in ("", named):
            keys.allowed[choice["api_key"]].add(second.own(named, "request"))
        elif endpoint in second.endpoints:
            provider = second.endpoints[endpoint]["provider"]
            keys.allowed[choice["api_key"]].add(second.place(provider, endpoint, "request"))
    sent = next_hop(*effectives, attach=data.draw(st.booleans()))
    for kind in KINDS:
        _check(receiver.resolve(kind, TENANT, sent).effective, keys)


@given(data=st.data())
@_FEW
def test_no_forwarded_connection_lends_its_address_to_another_key(data: st.DataObject) -> None:
    service = Service(data, "one", Keys())
    built = service.build()
    values = service.layer("request", usable=True)
    connections = []
    for endpoint in {"", "far", *service.endpoints}.difference(KEYED):
        known = service.endpoints.get(endpoint)
        provider = known["provider"] if known else service.pick(KEYED)
        address = f"https://sent-{endpoint or provider}.example"
        key = service.keys.new("sent", (provider, endpoint, address))
        connections.append(
            ForwardedConnection(
                kind=service.pick(KINDS),
                provider=ModelProvider(provider),
                endpoint=endpoint,
                base_url=address,
                private=False,
                source=service.pick([Source.TENANT, Source.FILE, Source.ENVIRONMENT]),
                api_key=SecretStr(key),
                tenants_own=service.flag(),
            )
        )
        if endpoint == "far" and service.flag():
            own = service.keys.new("request", (provider, "far", address))
            values |= {"chat_endpoint": "far", "chat_provider": provider, "chat_api_key": own}
            values.pop("chat_secret_ref", None)
    incoming = Incoming(asked(values).layers, tuple(connections))
    for kind in KINDS:
        _check(built.resolve(kind, TENANT, incoming).effective, service.keys)
