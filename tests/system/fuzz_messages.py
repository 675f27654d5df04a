"""Requests at random, built from the descriptors: mostly sensible, so that they get anywhere."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

DEPTH = 7
WILD = (0.0, 0.02, 0.2, 0.7)
"""How often a value of a message is an odd one: drawn once for each message."""

_SENSIBLE: Mapping[str, Sequence[str]] = {
    "tenant_id": ["", "default", "default", "acme"],
    "collection": ["cities", "cities", "other", "new"],
    "collections": ["cities"],
    "document_id": ["madrid", "new", "a#0", "a"],
    "document_ids": ["madrid", "paris"],
    "role": ["user", "assistant"],
    "message": ["¿Cuál es la capital de España?"],
    "query": ["capital de España"],
    "text": ["Madrid es la capital.", "# Título\n\nUn texto."],
    "texts": ["Madrid es la capital."],
    "provider": ["openai", "Groq", "mistral"],
    "chat_model": ["some-model"],
    "embedding_model": ["text-embedding-3-small"],
    "chat_endpoint": ["house"],
    "embedding_endpoint": ["house"],
    "endpoint": ["house", ""],
    "chat_secret_ref": ["shared"],
    "embedding_secret_ref": ["shared"],
    "secret_ref": ["shared", ""],
    "page_token": [""],
    "media_type": ["", "text/plain", "text/html"],
    "base_url": ["http://127.0.0.1:9/v1", "http://169.254.169.254", "gopher://x", "\x00"],
    "arguments": ["{}"],
    "key": ["name"],
    "name": ["clock"],
}
"""What a field has to say for a request to get anywhere."""
_PRESENT: Mapping[str, float] = {
    **dict.fromkeys(_SENSIBLE, 0.9),
    "context": 0.9,
    "options": 0.9,
    "retrieval": 0.5,
    "provenance": 0.1,
    "model_configuration": 0.5,
    "model_preferences": 0.3,
    "content": 0.05,
    "media_type": 0.1,
    "chunk_tokens": 0.1,
    "chunk_overlap_sentences": 0.1,
    "source": 0.3,
    "page_token": 0.1,
    "system_prompt": 0.2,
    "history": 0.2,
    "tools": 0.2,
    "response_format": 0.2,
    "filter": 0.3,
}
_MAP_KEYS = ("name", "openai", "groq", "mistral", "", "\x00", "x" * 300)
_ODD = (
    "",
    " ",
    "\x00",
    "\ufeff",
    "'\"*()%_;--",
    "{key} {0} %s ${x}",
    "../../etc/passwd",
    "NULL",
    "\u202e\u0301\U0001f3f3\ufe0f",
    "a\r\nb: c",
    "x" * 600,
    "y" * 20_000,
)
_INTEGERS = (0, 1, -1, 2, 5, 16, 100, 101, 4096, 2**31 - 1, -(2**31))
_NUMBERS = (0.0, 0.5, 1.0, -1.0, 2.0, 1e-9, 1e300, -0.0, float("nan"), float("inf"))
_INTEGERS_64 = (*_INTEGERS, 2**63 - 1, -(2**63))
_WHOLE_64 = (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64)


class Messages:
    """Makes messages out of one source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._wild = 0.0

    def requests(self, method: MethodDescriptor) -> list[Message]:
        """The request of a method, or the stream of them."""
        self._wild = self._chance.choice(WILD)
        if not method.client_streaming:
            return [self.message(method.input_type)]
        found: list[Any] = [
            self.message(method.input_type) for _ in range(self._chance.randrange(5))
        ]
        if found and self._chance.random() < 0.8:
            found[0].options.collection = self._chance.choice(_SENSIBLE["collection"])
        return found

    def message(self, descriptor: Descriptor, depth: int = 0) -> Message:
        """A message of a kind."""
        made = message_factory.GetMessageClass(descriptor)()
        chosen = {
            oneof.name: self._chance.choice(oneof.fields)
            for oneof in descriptor.oneofs
            if len(oneof.fields) > 1
        }
        for each in descriptor.fields:
            group = each.containing_oneof
            if group is not None and group.name in chosen:
                present = chosen[group.name] is each
            else:
                present = self._chance.random() < _likely(each)
            if present and (each.message_type is None or depth < DEPTH):
                self._fill(made, each, depth)
        return made

    def _fill(self, made: Any, each: FieldDescriptor, depth: int) -> None:
        kind = each.message_type
        if kind is not None and kind.GetOptions().map_entry:
            value = kind.fields_by_name["value"]
            assert value.message_type is not None
            for _ in range(self._chance.randrange(3)):
                target = getattr(made, each.name)[self._chance.choice(_MAP_KEYS)]
                target.CopyFrom(self.message(value.message_type, depth + 1))
        elif each.is_repeated:
            for _ in range(self._count()):
                if kind is not None:
                    getattr(made, each.name).add().CopyFrom(self.message(kind, depth + 1))
                else:
                    getattr(made, each.name).append(self._scalar(each))
        elif kind is not None:
            getattr(made, each.name).CopyFrom(self.message(kind, depth + 1))
        else:
            setattr(made, each.name, self._scalar(each))

    def _count(self) -> int:
        return self._chance.randrange(20) if self._is_odd() else self._chance.choice((1, 2))

    def _is_odd(self) -> bool:
        return self._chance.random() < self._wild

    def _scalar(self, each: FieldDescriptor) -> Any:
        odd = self._is_odd()
        if each.type == FieldDescriptor.TYPE_STRING:
            return self._text() if odd else self._chance.choice(_SENSIBLE.get(each.name, ["x"]))
        if each.type == FieldDescriptor.TYPE_BOOL:
            return self._chance.random() < 0.5
        if each.type == FieldDescriptor.TYPE_ENUM:
            assert each.enum_type is not None
            return 77 if odd else self._chance.choice([*each.enum_type.values_by_number])
        if each.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            return self._chance.choice(_NUMBERS if odd else (0.0, 0.5, 1.0))
        if each.type == FieldDescriptor.TYPE_BYTES:
            return self._chance.randbytes(self._chance.randrange(64))
        return self._integer(each) if odd else 8 if each.name == "embedding_dimensions" else 2

    def _integer(self, each: FieldDescriptor) -> int:
        return self._chance.choice(_INTEGERS_64 if each.type in _WHOLE_64 else _INTEGERS)

    def _text(self) -> str:
        if self._chance.random() < 0.5:
            return self._chance.choice(_ODD)
        points = (self._chance.choice((0x7F, 0x7FF, 0xD7FF)) for _ in range(8))
        return "".join(chr(self._chance.randrange(1 + point)) for point in points)


def _likely(each: FieldDescriptor) -> float:
    """How often a field is there: seldom where one value too many has the request refused."""
    if each.full_name.startswith("cascada.config.v1.ModelConfiguration."):
        return 0.05
    if each.full_name.startswith("cascada.config.v1.ModelPreferences."):
        return 0.3
    return _PRESENT.get(each.name, 0.5)
