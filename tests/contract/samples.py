"""Sample messages for the goldens, built from descriptors so that no field can be forgotten.

Each message has a `filled` sample, in which every field has a value that tells its name or number,
and a `zero` sample, in which every field that knows presence is present and zero. A message with a
oneof has a pair for each of its members.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

Kind = Literal["filled", "zero"]

_KINDS: tuple[Kind, ...] = ("filled", "zero")

_ANY_JSON = {"bool": True, "list": [1, "ñ"], "null": None, "number": 1.5, "string": "ñ"}

# Google's types by their JSON: their own fields are not ours to fill.
_WELL_KNOWN: dict[Kind, dict[str, Any]] = {
    "filled": {
        "google.protobuf.Duration": "1.500s",
        "google.protobuf.ListValue": ["ñ", 1.5, True],
        "google.protobuf.Struct": {**_ANY_JSON, "struct": _ANY_JSON},
        "google.protobuf.Timestamp": "2026-11-23T04:26:00.250Z",
        "google.protobuf.Value": "ñ",
    },
    "zero": {
        "google.protobuf.Duration": "0s",
        "google.protobuf.ListValue": [],
        "google.protobuf.Struct": {},
        "google.protobuf.Timestamp": "1970-01-01T00:00:00Z",
        "google.protobuf.Value": None,
    },
}

# A value of each type from its field and, in a list or map, its place from 1. The floats are exact
# in binary, an int64 needs more than 32 bits, and bytes are two little-endian float32.
_FILLED: dict[int, Callable[[FieldDescriptor, int], Any]] = {
    FieldDescriptor.TYPE_BOOL: lambda _field, _place: True,
    FieldDescriptor.TYPE_BYTES: lambda _field, place: bytes((0, 0, 0x80, 0x3F, 0, 0, 0, place)),
    FieldDescriptor.TYPE_DOUBLE: lambda field, place: field.number + place / 4,
    FieldDescriptor.TYPE_ENUM: lambda field, place: _enum_numbers(field)[place - 1],
    FieldDescriptor.TYPE_INT32: lambda field, place: field.number * 100 + place,
    FieldDescriptor.TYPE_INT64: lambda field, place: 2**40 + field.number * 100 + place,
    FieldDescriptor.TYPE_STRING: lambda field, place: f"{field.name} {place} ñ",
}


def samples(message: type[Message]) -> dict[str, Message]:
    """The samples of a message by name: `filled`, or `filled with MEMBER`; likewise `zero`."""
    descriptor = message.DESCRIPTOR
    assert isinstance(descriptor, Descriptor)
    built = dict[str, Message]()
    for kind in _KINDS:
        for members in _variants(descriptor):
            name = f"{kind} with {', '.join(members)}" if members else kind
            built[name] = _build(descriptor, kind, members)
    return built


def _oneofs(descriptor: Descriptor) -> list[OneofDescriptor]:
    """The oneofs that the proto declares, without those that `optional` fields bring."""
    return [
        oneof for oneof in descriptor.oneofs if oneof.name != f"_{next(iter(oneof.fields)).name}"
    ]


def _variants(descriptor: Descriptor) -> list[tuple[str, ...]]:
    """The members to set, one of each oneof; every member of each is there at least once."""
    members = [[field.name for field in oneof.fields] for oneof in _oneofs(descriptor)]
    count = max((len(names) for names in members), default=1)
    return [tuple(names[turn % len(names)] for names in members) for turn in range(count)]


def _build(descriptor: Descriptor, kind: Kind, members: Sequence[str]) -> Message:
    message = message_factory.GetMessageClass(descriptor)()
    others = {field.name for oneof in _oneofs(descriptor) for field in oneof.fields} - {*members}
    for field in descriptor.fields:
        if field.name not in others:
            _set(message, field, kind)
    return message


def _set(message: Message, field: FieldDescriptor, kind: Kind) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _set_map(getattr(message, field.name), field.message_type, kind)
    elif field.is_repeated:
        getattr(message, field.name).extend(_elements(field, kind))
    elif field.message_type is not None:
        held = getattr(message, field.name)
        held.SetInParent()
        held.CopyFrom(_messages(field.message_type, kind)[0])
    else:
        setattr(message, field.name, _scalar(field, kind, 1))


def _set_map(entries: Any, entry: Descriptor, kind: Kind) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for place in (1, 2) if kind == "filled" else (1,):
        name = _scalar(key, kind, place)
        if value.message_type is not None:
            entries[name].CopyFrom(_messages(value.message_type, kind)[0])
        else:
            entries[name] = _scalar(value, kind, place)


def _elements(field: FieldDescriptor, kind: Kind) -> list[Any]:
    """Every variant of a message, or two scalars; of an enum, every value but the unspecified."""
    if field.message_type is not None:
        return list(_messages(field.message_type, kind))
    count = (len(_enum_numbers(field)) if kind == "filled" else 0) or 2
    return [_scalar(field, kind, place) for place in range(1, count + 1)]


def _messages(descriptor: Descriptor, kind: Kind) -> list[Message]:
    if descriptor.file.package == "google.protobuf":
        held = message_factory.GetMessageClass(descriptor)()
        return [json_format.ParseDict(_WELL_KNOWN[kind][descriptor.full_name], held)]
    return [_build(descriptor, kind, members) for members in _variants(descriptor)]


def _scalar(field: FieldDescriptor, kind: Kind, place: int) -> Any:
    if kind == "zero":
        # The default of a repeated field is a list; its elements' is the type's.
        return type(_FILLED[field.type](field, place))()
    return _FILLED[field.type](field, place)


def _enum_numbers(field: FieldDescriptor) -> list[int]:
    """The numbers of an enum's values but the unspecified one; of any other type, none."""
    values = field.enum_type.values if field.enum_type is not None else ()
    return [value.number for value in values if value.number]
