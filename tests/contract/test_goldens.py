"""What is on the wire does not change unnoticed: bytes and JSON of every message, as recorded.

After a change that is meant, `python -m tests.contract.refresh` records anew.
"""

import importlib
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

from tests.contract import goldens, image
from tests.contract.samples import samples

CONTRACT = image.load()
MESSAGES = CONTRACT.messages()
ORIGINS = ("image", "generated")


def _message_class(name: str, origin: str) -> type[Message]:
    """The class as the image or as the generated code has it."""
    if origin == "image":
        return CONTRACT.message(name)
    file = CONTRACT.message(name).DESCRIPTOR.file.name
    importlib.import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2")
    found = descriptor_pool.Default().FindMessageTypeByName(name)
    return message_factory.GetMessageClass(found)


def _present(message: Message) -> set[str]:
    return {field.name for field, _ in message.ListFields()}


def _knowing_presence(kind: type[Message]) -> set[str]:
    return {field.name for field in kind.DESCRIPTOR.fields if field.has_presence}


def test_every_message_has_a_golden_and_every_golden_a_message() -> None:
    assert goldens.recorded_messages() == MESSAGES


@pytest.mark.parametrize("name", MESSAGES)
def test_a_golden_holds_the_samples_of_its_message(name: str) -> None:
    recorded = goldens.path(name).read_text(encoding="utf-8")
    assert recorded == goldens.render(CONTRACT.message(name)), (
        "if the contract is meant to change: make proto-image, python -m tests.contract.refresh"
    )


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("name", MESSAGES)
def test_the_recorded_bytes_are_read_as_the_samples(name: str, origin: str) -> None:
    kind, recorded = _message_class(name, origin), goldens.read(name)
    assert {key: kind.FromString(golden.wire) for key, golden in recorded.items()} == samples(kind)


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("name", MESSAGES)
def test_the_samples_are_written_as_the_recorded_bytes(name: str, origin: str) -> None:
    kind, recorded = _message_class(name, origin), goldens.read(name)
    assert {key: goldens.to_wire(sample) for key, sample in samples(kind).items()} == {
        key: golden.wire for key, golden in recorded.items()
    }


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("name", MESSAGES)
def test_the_recorded_json_is_read_as_the_samples(name: str, origin: str) -> None:
    kind, recorded = _message_class(name, origin), goldens.read(name)
    assert {
        key: json_format.ParseDict(golden.json, kind()) for key, golden in recorded.items()
    } == samples(kind)


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("name", MESSAGES)
def test_the_samples_are_written_as_the_recorded_json(name: str, origin: str) -> None:
    kind, recorded = _message_class(name, origin), goldens.read(name)
    assert {key: goldens.to_json(sample) for key, sample in samples(kind).items()} == {
        key: golden.json for key, golden in recorded.items()
    }


@pytest.mark.parametrize("name", MESSAGES)
def test_the_json_may_name_fields_as_the_protos_do(name: str) -> None:
    kind = CONTRACT.message(name)
    for sample in samples(kind).values():
        named = json_format.MessageToDict(sample, preserving_proto_field_name=True)
        assert json_format.ParseDict(named, kind()) == sample


@pytest.mark.parametrize("name", MESSAGES)
def test_the_filled_samples_set_every_field(name: str) -> None:
    kind = CONTRACT.message(name)
    filled = [sample for key, sample in samples(kind).items() if key.startswith("filled")]
    assert set().union(*map(_present, filled)) == set(kind.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_zero_samples_hold_every_field_that_knows_presence(name: str) -> None:
    kind = CONTRACT.message(name)
    zero = [sample for key, sample in samples(kind).items() if key.startswith("zero")]
    assert set().union(*map(_present, zero)) >= _knowing_presence(kind)


def test_refreshing_removes_an_orphan_and_restores_what_is_lost(tmp_path: Path) -> None:
    orphan = goldens.path("cascada.common.v1.Gone", tmp_path)
    orphan.write_text("{}", encoding="utf-8")
    assert goldens.write_all(CONTRACT, tmp_path) == sorted([*MESSAGES, "cascada.common.v1.Gone"])
    assert goldens.recorded_messages(tmp_path) == MESSAGES


def test_refreshing_twice_changes_nothing(tmp_path: Path) -> None:
    goldens.write_all(CONTRACT, tmp_path)
    assert goldens.write_all(CONTRACT, tmp_path) == []
