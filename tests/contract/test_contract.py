"""What the contract promises beyond each message: shapes that agree, names that Python shares."""

import importlib

import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.common.v1 import error_reason_pb2
from cascada.config.v1 import (
    configuration_source_pb2,
    model_configuration_pb2,
    model_preferences_pb2,
    model_provider_pb2,
)
from cascada.query.v1 import query_service_pb2 as query
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

from config_core.errors import Reason
from config_core.model_configuration import FallbackCondition, ModelProvider
from config_core.source import Source
from tests.contract import image

CONTRACT = image.load()

# The request that the design prints, which must work as it stands.
VERBATIM = """{"message": "¿Cuál es la capital de Francia?", "model_preferences": \
{"provider": "groq", "model": "llama-3.3-70b-versatile"}}"""


def _shape(descriptor: Descriptor) -> dict[str, tuple[object, ...]]:
    """Everything about each field that the wire and its JSON depend on."""
    return {field.name: _form(field) for field in descriptor.fields}


def _form(field: FieldDescriptor) -> tuple[object, ...]:
    held = field.message_type or field.enum_type
    oneof = field.containing_oneof
    return (
        field.number,
        field.type,
        field.is_repeated,
        field.has_presence,
        field.json_name,
        held.full_name if held is not None else None,
        oneof.name if oneof is not None else None,
    )


def _numbers(enum: EnumDescriptor, prefix: str) -> dict[str, int]:
    """The values by name without prefix, the unspecified one left out."""
    assert enum.values_by_number[0].name == f"{prefix}UNSPECIFIED"
    return {value.name.removeprefix(prefix): value.number for value in enum.values if value.number}


def _as_descriptor(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    """A file without JSON names: buf writes them out, protoc leaves them to be derived."""
    contents = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(contents)
    contents.DiscardUnknownFields()
    messages = list(contents.message_type)
    while messages:
        message = messages.pop()
        messages.extend(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
    return contents


def test_the_designs_request_is_read_as_it_stands() -> None:
    assert json_format.Parse(
        VERBATIM, agent_execution.ExecuteRequest()
    ) == agent_execution.ExecuteRequest(
        message="¿Cuál es la capital de Francia?",
        model_preferences=model_preferences_pb2.ModelPreferences(
            provider="groq", model="llama-3.3-70b-versatile"
        ),
    )


def test_a_streamed_execute_request_is_an_execute_request() -> None:
    assert _shape(agent_execution.StreamExecuteRequest.DESCRIPTOR) == _shape(
        agent_execution.ExecuteRequest.DESCRIPTOR
    )


def test_a_streamed_query_request_is_a_query_request() -> None:
    assert _shape(query.StreamQueryRequest.DESCRIPTOR) == _shape(query.QueryRequest.DESCRIPTOR)


def test_a_query_request_is_an_execute_request_without_preferences_and_with_provenance() -> None:
    expected = _shape(agent_execution.ExecuteRequest.DESCRIPTOR)
    del expected["model_preferences"]
    actual = _shape(query.QueryRequest.DESCRIPTOR)
    assert actual.pop("provenance")
    assert actual == expected


def test_a_query_response_is_an_execute_response() -> None:
    assert _shape(query.QueryResponse.DESCRIPTOR) == _shape(
        agent_execution.ExecuteResponse.DESCRIPTOR
    )


def test_every_reason_is_the_same_on_the_wire() -> None:
    wire = _numbers(error_reason_pb2.ErrorReason.DESCRIPTOR, "ERROR_REASON_")
    assert [reason.name for reason in Reason] == list(wire)
    assert [reason.value for reason in Reason] == list(wire)


def test_every_provider_is_the_same_on_the_wire() -> None:
    wire = _numbers(model_provider_pb2.ModelProvider.DESCRIPTOR, "MODEL_PROVIDER_")
    assert [provider.name for provider in ModelProvider] == list(wire)


def test_every_source_has_the_same_number_on_the_wire() -> None:
    wire = _numbers(
        configuration_source_pb2.ConfigurationSource.DESCRIPTOR, "CONFIGURATION_SOURCE_"
    )
    assert {source.name: source.value for source in Source} == wire


def test_every_fallback_condition_is_the_same_on_the_wire() -> None:
    wire = _numbers(model_configuration_pb2.FallbackCondition.DESCRIPTOR, "FALLBACK_CONDITION_")
    assert [condition.name for condition in FallbackCondition] == list(wire)


@pytest.mark.parametrize("name", CONTRACT.files)
def test_the_image_says_what_the_generated_code_says(name: str) -> None:
    module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    assert _as_descriptor(CONTRACT.pool.FindFileByName(name)) == _as_descriptor(
        module.DESCRIPTOR
    ), "run `make proto-image`, then `python -m tests.contract.refresh`"


def test_the_image_holds_every_proto() -> None:
    protos = image.IMAGE.parent
    assert sorted(CONTRACT.files) == sorted(
        proto.relative_to(protos).as_posix() for proto in protos.rglob("*.proto")
    )
