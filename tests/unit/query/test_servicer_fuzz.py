"""Any request that the contract can write is answered, or refused in our own words."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.common.v1.retrieval_pb2 import Retrieval
from cascada.query.v1 import query_service_pb2 as pb
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.store import open_store
from tests.unit.query.world import World, serving
from tests.unit.service_core.running import caught

FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}
SERVICE = pb.DESCRIPTOR.services_by_name["QueryService"]
DEPTH = 6
CUT = "Internal error from Core"
"""What gRPC's client says, in place of the server's word, of a stream that was answered while it
still sent (grpc #36066)."""

NAMES: dict[str, list[str]] = {
    "tenant_id": ["acme"],
    "collection": ["cities", "other", "new"],
    "collections": ["cities", "other"],
    "document_id": ["madrid", "new", "a#0", "a"],
    "document_ids": ["madrid", "paris"],
    "role": ["user", "assistant", "tool"],
    "message": ["¿Cuál es la capital de España?"],
    "query": ["capital de España"],
    "text": ["Madrid es la capital.", "# Título\n\nUn texto."],
    "chat_model": ["some-model"],
    "embedding_model": ["multilingual-e5-small", "tiny"],
    "page_token": [""],
    "key": ["name"],
    "name": ["clock"],
}
"""What a field has to say for a request to get anywhere."""
_ODD = ["", " ", "\x00", "\ufeff", "'\"*()", "{key}", "x" * 600]
_ANY_TEXT = st.text(max_size=12) | st.sampled_from(_ODD)
_BOUNDS = [0, 1, -1, 2, 5, 16, 100, 101, 2**31 - 1, -(2**31)]
_NUMBERS: list[float] = [0.0, 0.5, 1.0, -1.0, 2.0, 1e-9, 1e300, float("nan"), float("inf")]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """A message of this kind: mostly sensible, as only such ones get anywhere."""
    message = message_factory.GetMessageClass(descriptor)()
    chosen: dict[str, FieldDescriptor | None] = {
        oneof.name: draw(_mostly(_kinds(oneof), st.sampled_from([None, *oneof.fields])))
        for oneof in descriptor.oneofs
        if len(oneof.fields) > 1
    }
    for each in descriptor.fields:
        group = each.containing_oneof
        if group is not None and group.name in chosen:
            present = chosen[group.name] is each
        else:
            present = draw(st.integers(0, 99)) < _likely(each)
        if present and (each.message_type is None or depth < DEPTH):
            _fill(draw, message, each, depth)
    return message


def _likely(each: FieldDescriptor) -> int:
    """How many of a hundred messages have a field: few where one value too many is refused."""
    if each.full_name.startswith("cascada.config."):
        return 4
    return 96 if each.name in NAMES or each.name == "retrieval" else 60


def _kinds(oneof: OneofDescriptor) -> list[FieldDescriptor]:
    """The fields of a oneof to choose from; of a JSON value those that filters take."""
    scalars = [each for each in oneof.fields if each.message_type is None and not each.enum_type]
    return scalars or [*oneof.fields]


def _fill(draw: st.DrawFn, message: Any, each: FieldDescriptor, depth: int) -> None:
    kind = each.message_type
    if kind is not None and kind.GetOptions().map_entry:
        target = getattr(message, each.name)
        value = kind.fields_by_name["value"]
        for _ in range(draw(st.integers(0, 2))):
            key = draw(st.sampled_from(["name", "openai", "local"]) | _ANY_TEXT)
            if value.message_type is not None:
                target[key].CopyFrom(draw(messages(value.message_type, depth + 1)))
    elif each.is_repeated:
        for _ in range(draw(_mostly([1, 2], st.integers(0, 20)))):
            if kind is not None:
                getattr(message, each.name).add().CopyFrom(draw(messages(kind, depth + 1)))
            else:
                getattr(message, each.name).append(draw(_scalars(each)))
    elif kind is not None:
        getattr(message, each.name).CopyFrom(draw(messages(kind, depth + 1)))
    else:
        setattr(message, each.name, draw(_scalars(each)))


def _mostly(sensible: Sequence[Any], others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 15).flatmap(lambda n: st.sampled_from(sensible) if n else others)


def _scalars(each: FieldDescriptor) -> st.SearchStrategy[Any]:
    if each.type == FieldDescriptor.TYPE_STRING:
        return _mostly(NAMES.get(each.name, ["x"]), _ANY_TEXT)
    if each.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if each.type == FieldDescriptor.TYPE_ENUM:
        assert each.enum_type is not None
        return _mostly([*each.enum_type.values_by_number], st.just(77))
    if each.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _mostly([0.0, 0.5, 1.0], st.sampled_from(_NUMBERS))
    if each.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=8)
    unsigned = each.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)
    bounds = [number for number in _BOUNDS if number >= 0 or not unsigned]
    return _mostly([20 if each.name == "chunk_tokens" else 2], st.sampled_from(bounds))


PLAIN: dict[str, Any] = {
    "Query": pb.QueryRequest(message="hola"),
    "StreamQuery": pb.StreamQueryRequest(message="hola"),
    "Search": pb.SearchRequest(query="hola", retrieval=Retrieval(collections=["cities"])),
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Message]]:
    """A call of the service by name, with its request or the stream of its requests."""
    method = draw(st.sampled_from(list(SERVICE.methods)))
    count = draw(st.integers(0, 4)) if method.client_streaming else 1
    found: list[Any] = [draw(messages(method.input_type)) for _ in range(count)]
    if method.client_streaming and draw(st.booleans()):
        first = pb.IndexDocumentsRequest()
        first.options.collection, first.options.context.tenant_id = "cities", "acme"
        found.insert(0, first)
    if method.name in PLAIN and draw(st.integers(0, 3)) == 0:
        found = [PLAIN[method.name]]  # of the random ones hardly any has nothing that is refused
    if method.name == "DeleteCollection":
        found[0].collection = found[0].collection.replace("cities", "new")  # others search in it
    return method.name, found


async def _one_by_one(requests: list[Message]) -> AsyncIterator[Message]:
    """The requests, slowly enough to hear a refusal of one before the next."""
    for request in requests:
        yield request
        await asyncio.sleep(0.002)


@dataclass
class Served:
    """The service, on a loop of its own that stands still between calls."""

    run: Callable[[Awaitable[Any]], Any]
    stub: Any
    codes: Counter[str] = field(default_factory=Counter)
    undetailed: int = 0
    """How many refusals were gRPC's own and not ours."""

    async def code_of(self, name: str, requests: list[Message]) -> grpc.StatusCode:
        """Call, and give the code that came of it; refusals must be in our own words."""
        method = getattr(self.stub, name)
        try:
            if name == "IndexDocuments":
                async for _ in method(_one_by_one(requests), timeout=10):
                    pass
            elif name in ("StreamQuery", "ReindexCollection"):
                async for _ in method(requests[0], timeout=10):
                    pass
            else:
                await method(requests[0], timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.details() == CUT:
                return grpc.StatusCode.CANCELLED
            self.undetailed += "service" in caught(error).metadata
            return error.code()
        return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Any:
            store = await stack.enter_async_context(open_store(f"sqlite:///{folder}/store.db"))
            world = World(Path(folder), store)
            await world.fill()
            await world.fill("other", embedding_provider="openai", embedding_model="tiny")
            return await stack.enter_async_context(serving(world))

        stub = runner.run(start())

        async def wait(call: Awaitable[Any]) -> Any:
            return await call

        yield Served(lambda call: runner.run(wait(call)), stub)
        runner.run(stack.aclose())


@given(call=calls())
@settings(
    max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_no_request_is_a_fault_of_the_service(
    served: Served, call: tuple[str, list[Message]]
) -> None:
    name, requests = call
    code = served.run(served.code_of(name, requests))
    served.codes[f"{name} {code.name}"] += 1
    assert code not in FAULTS, requests
    assert served.undetailed == 0, requests


def test_the_random_requests_reach_the_service(served: Served) -> None:
    reached = {entry.split()[0] for entry in served.codes if entry.endswith(" OK")}
    assert reached >= {"Query", "IndexDocuments", "ListCollections"}, served.codes
