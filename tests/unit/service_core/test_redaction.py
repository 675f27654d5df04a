from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from cascada.common.v1 import chat_pb2 as chat
from cascada.config.v1 import model_configuration_pb2 as configuration
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct

from service_core.redaction import MASK, redact, scrub

CANARY = "canary-3f9a-value"
GENERATED = Path(__file__).parents[3] / "generated"


def all_messages() -> Iterator[Descriptor]:
    for file in sorted(GENERATED.rglob("*_pb2.py")):
        module = import_module(".".join(file.relative_to(GENERATED).with_suffix("").parts))
        queue = list(module.DESCRIPTOR.message_types_by_name.values())
        while queue:
            message = queue.pop()
            queue.extend(message.nested_types)
            yield message


def marked(message: Descriptor) -> list[FieldDescriptor]:
    return [field for field in message.fields if field.GetOptions().debug_redact]


def filled(descriptor: Descriptor, path: tuple[Descriptor, ...] = ()) -> Message:
    """A message with the canary in every marked field, as deep as the types go."""
    message: Message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.message_type is None:
            if field in marked(descriptor):
                value = CANARY.encode() if field.type == field.TYPE_BYTES else CANARY
                if field.is_repeated:
                    getattr(message, field.name).append(value)
                else:
                    setattr(message, field.name, value)
        elif field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            if inner is not None and inner.file.package.startswith("cascada"):
                getattr(message, field.name)["key"].CopyFrom(filled(inner, (*path, descriptor)))
        elif field.message_type not in path and field.message_type.file.package.startswith(
            "cascada"
        ):
            inner_message = filled(field.message_type, (*path, descriptor))
            if field.is_repeated:
                getattr(message, field.name).append(inner_message)
            else:
                getattr(message, field.name).CopyFrom(inner_message)
    return message


def test_the_walk_finds_the_keys_that_are_known_to_be_marked() -> None:
    found = {field.full_name for message in all_messages() for field in marked(message)}
    assert {
        "cascada.config.v1.ModelConfiguration.chat_api_key",
        "cascada.config.v1.ModelConfiguration.embedding_api_key",
        "cascada.config.v1.Fallback.api_key",
        "cascada.config.v1.ForwardedConnection.api_key",
    } <= found


def test_every_field_that_is_named_like_a_key_is_marked() -> None:
    for message in all_messages():
        for field in message.fields:
            if field.name.endswith("api_key"):
                assert field in marked(message), field.full_name


@pytest.mark.parametrize("name", sorted({message.full_name for message in all_messages()}))
def test_no_marked_field_of_any_message_is_shown(name: str) -> None:
    message = filled(descriptor_pool.Default().FindMessageTypeByName(name))
    assert CANARY not in repr(redact(message))


def test_the_fields_around_a_marked_one_are_shown() -> None:
    message = configuration.ModelConfiguration(chat_model="m", chat_api_key=CANARY, temperature=0.0)
    message.fallbacks.alternatives.add(model="other", api_key=CANARY)
    assert redact(message) == {
        "chat_model": "m",
        "chat_api_key": MASK,
        "temperature": 0.0,
        "fallbacks": {"alternatives": [{"model": "other", "api_key": MASK}]},
    }


def test_an_option_that_is_named_like_a_credential_is_masked() -> None:
    options = Struct()
    options.update({"api_key": CANARY, "headers": {"Authorization": CANARY}, "user": "u"})
    message = configuration.ModelConfiguration(provider_configs={"openai": options})
    shown = repr(redact(message))
    assert CANARY not in shown
    assert "'u'" in shown


def test_bytes_are_given_by_their_length() -> None:
    message = embedding.EmbedResponse(embeddings=[b"\x00" * 1536])
    assert redact(message) == {"embeddings": ["<1536 bytes>"]}


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-Abc123Abc123Abc123",
        "gsk_Abc123Abc123Abc123",
        "Authorization: Bearer Abc123Abc123Abc123",
        "{'api_key': 'Abc123Abc123Abc123'}",
        '{"OPENAI_API_KEY": "Abc123Abc123Abc123"}',
        "https://host/v1?api_key=Abc123Abc123Abc123&x=1",
        "Incorrect API key provided: Abc123Abc123Abc123. Find yours at",
        "postgresql://cascada:Abc123Abc123Abc123@db/cascada",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.Abc123Abc123Abc123",
    ],
)
def test_what_is_shaped_like_a_key_is_masked(text: str) -> None:
    assert "Abc123Abc123Abc123" not in scrub(text)


@pytest.mark.parametrize("piece", ["-eyJ", "-sk-", "a-", "bearer ", "api_key=", "://", " "])
def test_no_text_makes_scrubbing_slow(piece: str) -> None:
    # Quadratic time would be minutes here, and the limit of a test.
    scrub(piece * (2_000_000 // len(piece)))


@pytest.mark.parametrize(
    "text",
    [
        "Set GROQ_API_KEY, or model_configuration.chat_api_key in the request.",
        "chat_api_key: needs chat_provider or chat_endpoint in the same layer",
        "collection 'sk-learn-documentation-handbook'",
        "a risk-assessment-2024-of-the-year",
        "https://api.openai.com/v1",
        "There is no API key: name one.",
        "a basic understanding of bearer credentials",
    ],
)
def test_what_only_speaks_of_keys_is_left(text: str) -> None:
    assert scrub(text) == text


def test_known_secrets_are_removed_the_longest_first() -> None:
    assert scrub("x canary-one-two y", ["canary", "canary-one-two"]) == f"x {MASK} y"


def test_a_secret_too_short_to_be_one_does_not_tear_the_text() -> None:
    assert scrub("a short text", ["", "a"]) == "a short text"


def test_scrubbing_twice_changes_nothing_more() -> None:
    once = scrub("api_key=abcdefgh Bearer abcdefgh1 sk-0123456789abcdefg")
    assert scrub(once) == once


def test_an_entry_that_was_sent_without_a_value_is_none() -> None:
    tool = chat.Tool(name="clock")
    tool.parameters.fields["empty"].SetInParent()
    assert redact(tool) == {"name": "clock", "parameters": {"empty": None}}
