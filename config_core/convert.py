"""Model configurations between the wire and the domain, both ways, by hand."""

from collections.abc import Mapping
from typing import Any, cast

from google.protobuf import struct_pb2
from pydantic import SecretStr

from cascada.config.v1 import (
    configuration_source_pb2,
    model_configuration_pb2,
    model_preferences_pb2,
    model_provider_pb2,
    provenance_pb2,
)
from config_core.errors import PermissionDeniedError
from config_core.forward import Forwarded
from config_core.model_configuration import (
    Fallback,
    FallbackCondition,
    Fallbacks,
    ModelConfiguration,
    ModelProvider,
    set_fields,
)
from config_core.source import Source
from config_core.sources import preferences, request
from config_core.sources.preferences import Preferences
from config_core.sources.request import ForwardedConnection, Incoming, Provenance

_Wire = model_configuration_pb2.ModelConfiguration
_PROVIDER_TO_WIRE: dict[ModelProvider, model_provider_pb2.ModelProvider.ValueType] = {
    provider: model_provider_pb2.ModelProvider.Value(f"MODEL_PROVIDER_{provider.name}")
    for provider in ModelProvider
}
_PROVIDER_FROM_WIRE: dict[int, ModelProvider] = {
    number: provider for provider, number in _PROVIDER_TO_WIRE.items()
}
_CONDITION_TO_WIRE: dict[
    FallbackCondition, model_configuration_pb2.FallbackCondition.ValueType
] = {
    condition: model_configuration_pb2.FallbackCondition.Value(
        f"FALLBACK_CONDITION_{condition.name}"
    )
    for condition in FallbackCondition
}
_CONDITION_FROM_WIRE: dict[int, FallbackCondition] = {number: condition for condition, number in _CONDITION_TO_WIRE.items()}
_NAME_BY_NUMBER = {field.number: field.name for field in _Wire.DESCRIPTOR.fields}
_NUMBER_BY_NAME = {name: number for number, name in _NAME_BY_NUMBER.items()}


def provider_to_wire(provider: ModelProvider) -> model_provider_pb2.ModelProvider.ValueType:
    """The wire's number of a provider."""
    return _PROVIDER_TO_WIRE[provider]


def provider_from_wire(number: int) -> ModelProvider | str | None:
    """The provider; `None` for unspecified, text that no validation accepts for a number unknown here."""
    return None if number == 0 else _PROVIDER_FROM_WIRE.get(number, f"provider {number}")


def source_to_wire(source: Source) -> configuration_source_pb2.ConfigurationSource.ValueType:
    """The wire's number of a source, which is its own."""
    return cast(configuration_source_pb2.ConfigurationSource.ValueType, source.value)


def values_from_wire(message: _Wire) -> dict[str, Any]:
    """The fields that are set, unvalidated, as `ModelConfiguration` takes them."""
    values: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name in ("chat_provider", "embedding_provider"):
            values[name] = provider_from_wire(value)
        elif name == "provider_configs":
            values[name] = {key: dict_from_struct(value[key]) for key in value}
        elif name == "stop":
            values[name] = tuple(value.sequences)
        elif name == "fallbacks":
            values[name] = _fallbacks_from_wire(value)
        else:
            values[name] = value
    return values


def from_wire(message: _Wire) -> ModelConfiguration:
    """The configuration; raises pydantic's ValidationError for values out of range."""
    return ModelConfiguration.model_validate(values_from_wire(message))


def to_wire(configuration: ModelConfiguration) -> _Wire:
    """The message, keys included: for the next hop only, never for a log or an answer."""
    message = _Wire()
    for name, value in set_fields(configuration).items():
        if name in ("chat_provider", "embedding_provider"):
            setattr(message, name, _PROVIDER_TO_WIRE[value])
        elif name == "provider_configs":
            for key, options in value.items():
                message.provider_configs[key].update(options)
        elif name == "stop":
            message.stop.SetInParent()
            message.stop.sequences.extend(value)
        elif name == "fallbacks":
            _fallbacks_to_wire(value, message.fallbacks)
        elif isinstance(value, SecretStr):
            setattr(message, name, value.get_secret_value())
        else:
            setattr(message, name, value)
    return message


def incoming(
    configuration: _Wire,
    *,
    wire_provenance: provenance_pb2.Provenance | None = None,
    wire_preferences: model_preferences_pb2.ModelPreferences | None = None,
    trusted: bool = False,
) -> Incoming:
    """The configuration part of a request as layers.

    `trusted` says whether the peer's word on provenance is taken; from anyone else every field is
    the request's, and a forwarded connection raises PermissionDeniedError.
    """
    provenance: Provenance | None = None
    connections: tuple[ForwardedConnection, ...] = ()
    if wire_provenance is not None:
        if trusted:
            provenance = _provenance_from_wire(wire_provenance)
            connections = tuple(map(_connection_from_wire, wire_provenance.connections))
        elif wire_provenance.connections:
            raise PermissionDeniedError(
                "Only a service may forward connections: send your own key in model_configuration."
            )
    layers, violations = request.layers(values_from_wire(configuration), provenance)
    if wire_preferences is not None:
        preferred, wrong = preferences.layer(_preferences_from_wire(wire_preferences))
        layers, violations = (*layers, preferred), [*violations, *wrong]
    return Incoming(layers, connections, tuple(violations))


def provenance_to_wire(forwarded: Forwarded) -> provenance_pb2.Provenance:
    """The provenance of what is forwarded, compact: field numbers by source."""
    message = provenance_pb2.Provenance()
    layers: dict[Source, provenance_pb2.ProvenanceLayer] = {}
    for name, source in forwarded.provenance.fields.items():
        _layer(message, layers, source).fields.append(_NUMBER_BY_NAME[name])
    for name, sources in forwarded.provenance.beneath.items():
        for source in sorted(sources):
            _layer(message, layers, source).fields.append(_NUMBER_BY_NAME[name])
    for option, source in forwarded.provenance.options.items():
        _layer(message, layers, source).options.append(option)
    for connection in forwarded.connections:
        message.connections.add(
            provider=_PROVIDER_TO_WIRE[connection.provider],
            endpoint=connection.endpoint,
            base_url=connection.base_url,
            private=connection.private,
            api_key=connection.api_key.get_secret_value() if connection.api_key else None,
            source=source_to_wire(connection.source),
            space=connection.space,
            secret_ref=connection.secret_ref,
            tenants_own=connection.tenants_own,
        )
    return message


def dict_from_struct(message: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as plain JSON; whole numbers become int."""
    return {key: value_from_struct(value) for key, value in message.fields.items()}


def value_from_struct(message: struct_pb2.Value) -> Any:
    """A Value as plain JSON; a whole number becomes int, an unset one None."""
    match message.WhichOneof("kind"):
        case "number_value":
            number = message.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case "struct_value":
            return dict_from_struct(message.struct_value)
        case "list_value":
            return [value_from_struct(value) for value in message.list_value.values]
        case _:
            return None


def _layer(
    message: provenance_pb2.Provenance,
    layers: dict[Source, provenance_pb2.ProvenanceLayer],
    source: Source,
) -> provenance_pb2.ProvenanceLayer:
    if source not in layers:
        layers[source] = message.layers.add(source=source_to_wire(source))
    return layers[source]


def _provenance_from_wire(message: provenance_pb2.Provenance) -> Provenance:
    found: dict[str, set[Source]] = {}
    options: dict[str, Source] = {}
    for layer in message.layers:
        try:
            source = Source(layer.source)
        except ValueError:
            continue  # a source unknown here counts as the request's
        for number in layer.fields:
            if number in _NAME_BY_NUMBER:
                found.setdefault(_NAME_BY_NUMBER[number], set()).add(source)
        for option in layer.options:
            options[option] = source
    fields = {name: min(sources) for name, sources in found.items()}
    beneath = {
        name: frozenset(sources - {fields[name]})
        for name, sources in found.items()
        if len(sources) > 1
    }
    return Provenance(fields, options, beneath)


def _connection_from_wire(message: provenance_pb2.ForwardedConnection) -> ForwardedConnection:
    provider = provider_from_wire(message.provider)
    if not isinstance(provider, ModelProvider):
        raise PermissionDeniedError("A forwarded connection names no provider known here.")
    return ForwardedConnection(
        provider=provider,
        endpoint=message.endpoint,
        base_url=message.base_url,
        private=message.private,
        source=_connection_source(message.source),
        api_key=SecretStr(message.api_key) if message.HasField("api_key") else None,
        space=message.space,
        secret_ref=message.secret_ref,
        tenants_own=message.tenants_own,
    )


def _connection_source(number: int) -> Source:
    """The source of a credential; LOCKED, which is never believed, and what is unknown count as FILE."""
    known = number in set(Source) and number != Source.LOCKED
    return Source(number) if known else Source.FILE


def _preferences_from_wire(message: model_preferences_pb2.ModelPreferences) -> Preferences:
    return Preferences(
        provider=message.provider,
        model=message.model,
        temperature=message.temperature if message.HasField("temperature") else None,
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
    )


def _fallbacks_from_wire(message: model_configuration_pb2.Fallbacks) -> dict[str, Any]:
    return {
        "alternatives": tuple(
            {
                field.name: provider_from_wire(value) if field.name == "provider" else value
                for field, value in alternative.ListFields()
            }
            for alternative in message.alternatives
        ),
        "fallback_on": tuple(
            _CONDITION_FROM_WIRE.get(number, f"condition {number}")
            for number in message.fallback_on
        ),
    }


def _fallbacks_to_wire(value: Fallbacks, message: model_configuration_pb2.Fallbacks) -> None:
    message.SetInParent()
    for alternative in value.alternatives:
        _fallback_to_wire(alternative, message.alternatives.add())
    message.fallback_on.extend(_CONDITION_TO_WIRE[condition] for condition in value.fallback_on)


def _fallback_to_wire(value: Fallback, message: model_configuration_pb2.Fallback) -> None:
    fields: Mapping[str, Any] = value.__dict__
    for name, entry in fields.items():
        if entry is None:
            continue
        if isinstance(entry, ModelProvider):
            message.provider = _PROVIDER_TO_WIRE[entry]
        else:
            text = entry.get_secret_value() if isinstance(entry, SecretStr) else entry
            setattr(message, name, text)
