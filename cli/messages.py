"""Messages for people and scripts: as JSON documents, and the names of their enums."""

from typing import Any

from cascada.config.v1 import (
    configuration_service_pb2,
    configuration_source_pb2,
    configuration_trace_pb2,
    effective_configuration_pb2,
    model_provider_pb2,
)
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message


def as_document(message: Message) -> dict[str, Any]:
    """The message with the names of its proto; fields without presence are always there."""
    document: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document


def provider_name(number: int) -> str:
    """`openai`, `groq`, `mistral` or `local`."""
    return _short(model_provider_pb2.ModelProvider, "MODEL_PROVIDER_", number).lower()


def source_name(number: int) -> str:
    """The layer of the resolution table: LOCKED, REQUEST and so on."""
    return _short(
        configuration_source_pb2.ConfigurationSource, "CONFIGURATION_SOURCE_", number
    ).upper()


def operation_name(number: int) -> str:
    """`chat` or `embedding`."""
    return _short(effective_configuration_pb2.Operation, "OPERATION_", number).lower()


def outcome_name(number: int) -> str:
    """`succeeded`, `failed` or `skipped`."""
    outcomes = configuration_trace_pb2.AttemptOutcome
    return _short(outcomes, "ATTEMPT_OUTCOME_", number).lower()


def circuit_name(number: int) -> str:
    """`closed`, `open` or `half open`; "–" where the service has not called the connection."""
    name = _short(configuration_service_pb2.CircuitState, "CIRCUIT_STATE_", number)
    return name.replace("_", " ").lower() if number else "–"


def _short(enum: Any, prefix: str, number: int) -> str:
    # A newer service may know values that are unknown here.
    name = enum.DESCRIPTOR.values_by_number.get(number)
    return name.name.removeprefix(prefix) if name is not None else f"unknown {number}"
