"""proto → pydantic → proto is the identity, for every field that the descriptor has."""

from collections.abc import Iterator

import pytest
from cascada.config.v1 import configuration_source_pb2, model_configuration_pb2, model_provider_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pydantic import ValidationError

from config_core import convert
from config_core.model_configuration import Fallback, Fallbacks, ModelConfiguration
from config_core.source import Source

Wire = model_configuration_pb2.ModelConfiguration
FIELDS = {field.name: field for field in Wire.DESCRIPTOR.fields}

# Presence and nesting differ, so that messages are spelt out; a new one is missed here by name.
MESSAGES: dict[str, list[Wire]] = {
    "provider_configs": [Wire()],
    "stop": [
        Wire(stop=model_configuration_pb2.StopSequences()),
        Wire(stop=model_configuration_pb2.StopSequences(sequences=["a", "b"])),
    ],
    "fallbacks": [
        Wire(fallbacks=model_configuration_pb2.Fallbacks()),
        Wire(
            fallbacks=model_configuration_pb2.Fallbacks(
                alternatives=[
                    model_configuration_pb2.Fallback(
                        provider=model_provider_pb2.MODEL_PROVIDER_OPENAI,
                        model="m",
                        endpoint="e",
                        api_key="sk-1",
                        secret_ref="r",
                    ),
                    model_configuration_pb2.Fallback(endpoint="e"),
                    model_configuration_pb2.Fallback(),
                ],
                fallback_on=[
                    model_configuration_pb2.FALLBACK_CONDITION_CONTENT_REFUSED,
                    model_configuration_pb2.FALLBACK_CONDITION_CAPABILITY_UNSUPPORTED,
                ],
            )
        ),
    ],
}
MESSAGES["provider_configs"][0].provider_configs["openai"].update(
    {"b": True, "n": 1.5, "i": 3, "s": "text", "o": {"list": [1, None, "x", {"deep": False}]}}
)
MESSAGES["provider_configs"][0].provider_configs["groq"].update({})


def _scalars(field: FieldDescriptor) -> Iterator[object]:
    """Values of a scalar, zero among them where the domain has one."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            yield "name-1"
        case FieldDescriptor.CPPTYPE_DOUBLE:
            yield from (0.0, 0.25, 1.0)
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            yield from (value.number for value in field.enum_type.values if value.number)
        case _:
            yield from (0, 1, 7)


def _examples(field: FieldDescriptor) -> Iterator[Wire]:
    if field.message_type is not None:
        yield from MESSAGES[field.name]
        return
    for value in _scalars(field):
        message = Wire()
        setattr(message, field.name, value)
        assert [found.name for found, _ in message.ListFields()] == [field.name]
        try:
            convert.from_wire(message)
        except ValidationError:
            assert not value, "only a zero may be out of range"
            continue
        yield message


def _there_and_back(message: Wire) -> Message:
    return convert.to_wire(convert.from_wire(message))


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_alone_comes_back_as_it_was(name: str) -> None:
    examples = list(_examples(FIELDS[name]))
    assert examples
    for message in examples:
        assert _there_and_back(message) == message


def test_all_fields_together_come_back_as_they_were() -> None:
    message = Wire()
    for field in FIELDS.values():
        message.MergeFrom(list(_examples(field))[-1])
    assert {field.name for field, _ in message.ListFields()} == set(FIELDS)
    assert _there_and_back(message) == message


def test_zero_values_come_back_together() -> None:
    message = Wire(temperature=0, retry_attempts=0, seed=0, frequency_penalty=0, presence_penalty=0)
    message.stop.SetInParent()
    message.fallbacks.SetInParent()
    assert len(message.ListFields()) == 7
    assert _there_and_back(message) == message


def test_an_empty_message_stays_empty() -> None:
    assert convert.from_wire(Wire()) == ModelConfiguration()
    assert convert.to_wire(ModelConfiguration()) == Wire()


def test_message_and_model_have_the_same_fields() -> None:
    assert set(FIELDS) == set(ModelConfiguration.model_fields)
    fallback = model_configuration_pb2.Fallback.DESCRIPTOR
    assert {field.name for field in fallback.fields} == set(Fallback.model_fields)
    fallbacks = model_configuration_pb2.Fallbacks.DESCRIPTOR
    assert {field.name for field in fallbacks.fields} == set(Fallbacks.model_fields)


def test_every_secret_of_the_message_is_marked_for_redaction_and_masked_in_the_model() -> None:
    for message, model in (
        (Wire, ModelConfiguration),
        (model_configuration_pb2.Fallback, Fallback),
    ):
        marked = {f.name for f in message.DESCRIPTOR.fields if f.GetOptions().debug_redact}
        secret = {n for n, f in model.model_fields.items() if "SecretStr" in str(f.annotation)}
        assert marked == secret
        assert marked


def test_an_unspecified_provider_is_an_absent_one() -> None:
    assert (
        convert.from_wire(Wire(chat_provider=model_provider_pb2.MODEL_PROVIDER_UNSPECIFIED))
        == ModelConfiguration()
    )


def test_a_provider_unknown_here_is_refused_and_not_dropped() -> None:
    with pytest.raises(ValidationError):
        convert.from_wire(Wire(chat_provider=77))  # type: ignore[arg-type]  # as a newer client could


def test_sources_have_the_numbers_of_the_wire() -> None:

    names = configuration_source_pb2.ConfigurationSource.items()
    assert {name.removeprefix("CONFIGURATION_SOURCE_"): number for name, number in names} == {
        "UNSPECIFIED": 0,
        **{source.name: source.value for source in Source},
    }
