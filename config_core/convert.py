"""Model configurations between the wire and the domain, both ways, by hand."""

from collections.abc import Mapping
from typing import Any, cast

from cascada.config.v1 import (
    configuration_source_pb2,
    model_configuration_pb2,
    model_provider_pb2,
)
from google.protobuf import struct_pb2
from pydantic import SecretStr

from config_core.model_configuration import (
    Fallback,
    FallbackCondition,
    Fallbacks,
    ModelConfiguration,
    ModelProvider,
    set_fields,
)
from config_core.source import Source

_Wire = model_configuration_pb2.ModelConfiguration
_PROVIDER_TO_WIRE: dict[ModelProvider, model_provider_pb2.ModelProvider.ValueType] = {
    provider: model_provider_pb2.ModelProvider.Value(f"MODEL_PROVIDER_{provider.name}")
    for provider in ModelProvider
}
_PROVIDER_FROM_WIRE: dict[int, ModelProvider] = {
    number: provider for provider, number in _PROVIDER_TO_WIRE.items()
}
_CONDITION_TO_WIRE: dict[FallbackCondition, model_configuration_pb2.FallbackCondition.ValueType] = {
    condition: model_configuration_pb2.FallbackCondition.Value(
        f"FALLBACK_CONDITION_{condition.name}"
    )
    for condition in FallbackCondition
}
_CONDITION_FROM_WIRE: dict[int, FallbackCondition] = {
    number: condition for condition, number in _CONDITION_TO_WIRE.items()
}
_NAME_BY_NUMBER = {field.number: field.name for field in _Wire.DESCRIPTOR.fields}
_NUMBER_BY_NAME = {name: number for number, name in _NAME_BY_NUMBER.items()}


def provider_to_wire(provider: ModelProvider) -> model_provider_pb2.ModelProvider.ValueType:
    """The wire's number of a provider."""
    return _PROVIDER_TO_WIRE[provider]


def provider_from_wire(number: int) -> ModelProvider | str | None:
    """The provider; `None` for unspecified, text that never validates for an unknown number."""
    return None if number == 0 else _PROVIDER_FROM_WIRE.get(number, f"provider {number}")


def source_to_wire(source: Source) -> configuration_source_pb2.ConfigurationSource.ValueType:
    """The wire's number of a source, which is its own."""
    return cast("configuration_source_pb2.ConfigurationSource.ValueType", source.value)


def field_number(name: str) -> int:
    """The number of a field of ModelConfiguration."""
    return _NUMBER_BY_NAME[name]


def field_name(number: int) -> str | None:
    """The name of a field of ModelConfiguration; `None` for a number unknown here."""
    return _NAME_BY_NUMBER.get(number)


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
