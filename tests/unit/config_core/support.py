"""Short ways to a snapshot, a request's layers and the next hop, for the tests of config_core."""

from collections.abc import Mapping
from typing import Any

from config_core import convert, convert_provenance, forward
from config_core.connection import PUBLIC_BASE_URL, Connection
from config_core.effective import EffectiveConfiguration
from config_core.file_reader import parse
from config_core.layer import Layer
from config_core.model_configuration import ConnectionKind, ModelConfiguration, ModelProvider
from config_core.resolve import Resolution
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshot
from config_core.source import Source
from config_core.sources import environment, preferences, request
from config_core.sources.collection import PinnedSpace
from config_core.sources.preferences import Preferences
from config_core.sources.request import Incoming

TENANT = "acme"
OPENAI = PUBLIC_BASE_URL[ModelProvider.OPENAI]
GROQ = PUBLIC_BASE_URL[ModelProvider.GROQ]
CORP = "https://corp.example/v1"
EDGE = "https://edge.example"
ENDPOINTS: Mapping[str, Any] = {
    "corp": {"provider": "openai", "base_url": CORP},
    "edge": {"provider": "groq", "base_url": EDGE},
}


def snapshot(
    document: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Snapshot:
    """A service's configuration: its file's content and its environment."""
    variables = dict(environ or {})
    found = Snapshot(
        parse(dict(document or {}), "cascada.json"),
        "version",
        environment.read(variables),
        LocalSecrets(variables),
    )
    found.environment.check(found.document)
    return found


def asked(
    values: Mapping[str, Any] | None = None, preferred: Preferences | None = None
) -> Incoming:
    """The configuration part of a request that comes from a client."""
    layers, violations = request.layers(dict(values or {}), None)
    if preferred is not None:
        layer, wrong = preferences.layer(preferred)
        layers, violations = (*layers, layer), [*violations, *wrong]
    return Incoming(layers, (), tuple(violations))


def resolve(
    service: Snapshot,
    values: Mapping[str, Any] | None = None,
    *,
    kind: ConnectionKind = "chat",
    tenant: str = TENANT,
    preferred: Preferences | None = None,
    pinned: PinnedSpace | None = None,
) -> Resolution:
    """What the service makes of a client's request."""
    return service.resolve(kind, tenant, asked(values, preferred), pinned)


def chat(
    service: Snapshot, values: Mapping[str, Any] | None = None, **options: Any
) -> EffectiveConfiguration:
    """The effective configuration of a chat request that is accepted."""
    return resolve(service, values, **options).require()


def embedding(
    service: Snapshot, values: Mapping[str, Any] | None = None, **options: Any
) -> EffectiveConfiguration:
    """The effective configuration of an embedding request that is accepted."""
    return resolve(service, values, kind="embedding", **options).require()


def key_of(connection: Connection) -> str | None:
    """The key in clear."""
    credential = connection.credential
    return None if credential is None else credential.key.get_secret_value()


def used(effective: EffectiveConfiguration, index: int = 0) -> tuple[str, str, str, str | None]:
    """Provider, endpoint, address and key that a target would be called with."""
    connection = effective.targets[index].connection
    return connection.provider.value, connection.endpoint, connection.base_url, key_of(connection)


def next_hop(*effectives: EffectiveConfiguration, attach: bool = False) -> Incoming:
    """What the next service reads from the wire when these are forwarded to it."""
    sent = forward.forward(effectives, attach_credentials=attach)
    return convert_provenance.incoming(
        convert.to_wire(sent.configuration),
        wire_provenance=convert_provenance.provenance_to_wire(sent),
        trusted=True,
    )


def layer(source: Source, **values: Any) -> Layer:
    """The layer that these values make."""
    return Layer.of(source, ModelConfiguration.model_validate(values))
