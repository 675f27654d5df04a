"""The contract as the descriptor image tells it: no stubs and no protos are needed to use it.

contract = load()
request = contract.message("cascada.agent_execution.v1.ExecuteRequest")(message="Hola")
execute = contract.unary(channel, "cascada.agent_execution.v1.AgentExecutionService", "Execute")
response = await execute(request)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

IMAGE = Path(__file__).resolve().parents[2] / "protos" / "image.binpb"


@dataclass(frozen=True, slots=True)
class Contract:
    """The types and methods of an image, in a descriptor pool of their own."""

    pool: descriptor_pool.DescriptorPool
    files: tuple[str, ...]
    """Our protos by path; those that they import from Google are in the pool only."""

    def message(self, name: str) -> type[Message]:
        """The class of a message by its full name; raises KeyError if there is none."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def messages(self) -> list[str]:
        """The full names of all our messages, nested ones too, in alphabetical order."""
        return sorted(
            message.full_name
            for file in self.files
            for top in self.pool.FindFileByName(file).message_types_by_name.values()
            for message in _with_nested(top)
        )

    def method(self, service: str, name: str) -> MethodDescriptor:
        """A method by its service's full name; raises KeyError if there is none."""
        found = self.pool.FindServiceByName(service).methods_by_name[name]
        assert isinstance(found, MethodDescriptor)
        return found

    def unary(
        self, channel: grpc.aio.Channel, service: str, name: str
    ) -> grpc.aio.UnaryUnaryMultiCallable[Message, Message]:
        """Something to call a unary method by, on an async channel."""
        method = self.method(service, name)
        return channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=self.message(method.output_type.full_name).FromString,
        )

    def server_stream(
        self, channel: grpc.aio.Channel, service: str, name: str
    ) -> grpc.aio.UnaryStreamMultiCallable[Message, Message]:
        """Something to call a method by that answers with a stream, on an async channel."""
        method = self.method(service, name)
        return channel.unary_stream(
            f"/{service}/{name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=self.message(method.output_type.full_name).FromString,
        )


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    if message.GetOptions().map_entry:
        return
    yield message
    for nested in message.nested_types:
        yield from _with_nested(nested)


@cache
def load(path: Path = IMAGE) -> Contract:
    """Read an image, which is a FileDescriptorSet; raises OSError if it is not there."""
    image = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in image.file:
        pool.Add(file)
    ours = tuple(file.name for file in image.file if file.package.startswith("cascada."))
    return Contract(pool=pool, files=ours)
