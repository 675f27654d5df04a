"""What travels beside a model configuration: provenance, connections, preferences."""

from collections.abc import Mapping

from cascada.config.v1 import (
    effective_configuration_pb2,
    model_configuration_pb2,
    model_preferences_pb2,
    provenance_pb2,
)
from pydantic import SecretStr

from config_core.convert import (
    field_name,
    field_number,
    provider_from_wire,
    provider_to_wire,
    source_to_wire,
    values_from_wire,
)
from config_core.errors import PermissionDeniedError
from config_core.forward import Forwarded
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.source import Source
from config_core.sources import preferences, request
from config_core.sources.preferences import Preferences
from config_core.sources.request import ForwardedConnection, Incoming, Provenance

_OPERATIONS: dict[ConnectionKind, effective_configuration_pb2.Operation.ValueType] = {
    "chat": effective_configuration_pb2.OPERATION_CHAT,
    "embedding": effective_configuration_pb2.OPERATION_EMBEDDING,
}
_BLANKABLE = frozenset({"chat_endpoint", "chat_model", "embedding_endpoint", "embedding_model"})


def incoming(
    configuration: model_configuration_pb2.ModelConfiguration,
    *,
    wire_provenance: provenance_pb2.Provenance | None = None,
    wire_preferences: model_preferences_pb2.ModelPreferences | None = None,
    trusted: bool = False,
) -> Incoming:
    """The configuration part of a request as layers.

    `trusted` says whether the peer's word on provenance is taken; from anyone else every field is
    the request's, and a forwarded connection raises PermissionDeniedError.
    """
    values = values_from_wire(configuration)
    provenance: Provenance | None = None
    connections: tuple[ForwardedConnection, ...] = ()
    if wire_provenance is not None:
        if trusted:
            provenance = _provenance_from_wire(wire_provenance, values)
            connections = tuple(map(_connection_from_wire, wire_provenance.connections))
        elif wire_provenance.connections:
            raise PermissionDeniedError(
                "Only a service may forward connections: send your own key in model_configuration."
            )
    layers, violations = request.layers(values, provenance)
    if wire_preferences is not None:
        preferred, wrong = preferences.layer(_preferences_from_wire(wire_preferences))
        layers, violations = (*layers, preferred), [*violations, *wrong]
    return Incoming(layers, connections, tuple(violations))


def provenance_to_wire(forwarded: Forwarded) -> provenance_pb2.Provenance:
    """The provenance of what is forwarded, compact: field numbers by source."""
    message = provenance_pb2.Provenance()
    layers: dict[Source, provenance_pb2.ProvenanceLayer] = {}
    for name, source in forwarded.provenance.fields.items():
        _layer(message, layers, source).fields.append(field_number(name))
    for name, sources in forwarded.provenance.beneath.items():
        for source in sorted(sources):
            _layer(message, layers, source).fields.append(field_number(name))
    for name, source in forwarded.provenance.blank.items():
        _layer(message, layers, source).fields.append(field_number(name))
    for option, source in forwarded.provenance.options.items():
        _layer(message, layers, source).options.append(option)
    for connection in forwarded.connections:
        message.connections.add(
            provider=provider_to_wire(connection.provider),
            endpoint=connection.endpoint,
            base_url=connection.base_url,
            private=connection.private,
            api_key=connection.api_key.get_secret_value() if connection.api_key else None,
            source=source_to_wire(connection.source),
            space=connection.space,
            secret_ref=connection.secret_ref,
            tenants_own=connection.tenants_own,
            operation=_OPERATIONS[connection.kind],
            keyless=connection.keyless,
        )
    return message


def _layer(
    message: provenance_pb2.Provenance,
    layers: dict[Source, provenance_pb2.ProvenanceLayer],
    source: Source,
) -> provenance_pb2.ProvenanceLayer:
    if source not in layers:
        layers[source] = message.layers.add(source=source_to_wire(source))
    return layers[source]


def _provenance_from_wire(
    message: provenance_pb2.Provenance, values: Mapping[str, object]
) -> Provenance:
    """The provenance of these values; a field that stands in a layer without one is left blank."""
    found: dict[str, set[Source]] = {}
    options: dict[str, Source] = {}
    for layer in message.layers:
        try:
            source = Source(layer.source)
        except ValueError:
            continue  # a source unknown here counts as the request's
        for number in layer.fields:
            name = field_name(number)
            if name is not None:
                found.setdefault(name, set()).add(source)
        for option in layer.options:
            options[option] = source
    fields = {name: min(sources) for name, sources in found.items()}
    beneath = {
        name: frozenset(sources - {fields[name]})
        for name, sources in found.items()
        if len(sources) > 1
    }
    blank = {name: fields[name] for name in fields.keys() & _BLANKABLE if name not in values}
    return Provenance(fields, options, beneath, blank)


def _connection_from_wire(message: provenance_pb2.ForwardedConnection) -> ForwardedConnection:
    provider = provider_from_wire(message.provider)
    if not isinstance(provider, ModelProvider):
        raise PermissionDeniedError("A forwarded connection names no provider known here.")
    embeds = message.operation == effective_configuration_pb2.OPERATION_EMBEDDING
    return ForwardedConnection(
        kind="embedding" if embeds else "chat",
        provider=provider,
        endpoint=message.endpoint,
        base_url=message.base_url,
        private=message.private,
        source=_connection_source(message.source),
        api_key=SecretStr(message.api_key) if message.HasField("api_key") else None,
        space=message.space,
        secret_ref=message.secret_ref,
        tenants_own=message.tenants_own,
        keyless=message.keyless,
    )


def _connection_source(number: int) -> Source:
    """The source of a credential; LOCKED, never believed, and the unknown count as FILE."""
    known = number in set(Source) and number != Source.LOCKED
    return Source(number) if known else Source.FILE


def _preferences_from_wire(message: model_preferences_pb2.ModelPreferences) -> Preferences:
    return Preferences(
        provider=message.provider,
        model=message.model,
        temperature=message.temperature if message.HasField("temperature") else None,
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
    )
