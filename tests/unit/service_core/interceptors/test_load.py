import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from cascada.query.v1 import query_service_pb2
from grpc_health.v1 import health_pb2

from config_core.errors import Reason
from service_core.admission import Admission
from service_core.channel import create_channel
from service_core.identified_channel import IdentifiedChannel
from service_core.interceptors import ErrorInterceptor, load
from service_core.interceptors.load import LoadInterceptor
from service_core.load import Load
from service_core.server import GrpcServer
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Context,
    Message,
    add_probe,
    call,
    failure,
    health,
)
from tests.unit.service_core.running import caught

OWN = "cascada_own"


class Gate:
    """A behaviour that runs until it is opened."""

    def __init__(self) -> None:
        self.running = asyncio.Semaphore(0)
        self.open = asyncio.Event()

    async def behaviour(self, _: Context) -> AsyncIterator[Message]:
        self.running.release()
        await self.open.wait()
        yield Message(texts=["finished"])


@asynccontextmanager
async def full(gate: Gate, seconds: float = 0.05) -> AsyncIterator[str]:
    """A server in which the one request that may run does; its target."""
    admission = Admission("probe", Load(), most=1, busy=9, queued=1, seconds=seconds, indexing=1)
    layers = [ErrorInterceptor(), LoadInterceptor(admission, OWN)]
    server = GrpcServer("127.0.0.1", 0, interceptors=layers)
    server.add(SERVICE, add_probe, gate.behaviour)
    await server.start()
    await server.set_serving()
    target = f"127.0.0.1:{server.port}"
    try:
        async with create_channel(target) as channel:
            first = asyncio.create_task(call(channel, "UnaryUnary"))
            await gate.running.acquire()
            yield target
            gate.open.set()
            await first
    finally:
        await server.stop(0)


def known_as(token: str, target: str) -> grpc.aio.Channel:
    return IdentifiedChannel(lambda: create_channel(target), lambda: token)


@pytest.mark.parametrize("kind", KINDS)
async def test_beyond_what_fits_a_call_is_refused_with_its_reason_and_a_wait(kind: str) -> None:
    async with full(Gate()) as target, create_channel(target) as channel:
        error = await failure(channel, kind)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    ours = caught(error)
    assert ours.code_reason is Reason.OVERLOADED
    assert ours.retry_after is not None


async def test_a_caller_learns_that_there_was_no_room_before_its_own_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service_core.deadline._MARGIN", 0.5)
    monkeypatch.setattr("service_core.deadline._MARGIN_SHARE", 0.5)
    async with full(Gate(), seconds=20) as target, create_channel(target) as channel:
        error = await failure(channel, timeout=1)
    assert caught(error).code_reason is Reason.OVERLOADED


async def test_health_is_answered_however_full_it_is() -> None:
    async with full(Gate()) as target, create_channel(target) as channel:
        answer = await health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_call_of_its_own_process_is_let_in_however_full_it_is() -> None:
    gate = Gate()
    async with full(gate) as target, known_as(OWN, target) as channel:
        inner = asyncio.create_task(call(channel, "UnaryUnary"))
        await asyncio.wait_for(gate.running.acquire(), 20)
        gate.open.set()
        assert (await inner)[0].texts == ["finished"]


async def test_a_stranger_is_not_taken_for_its_own_process() -> None:
    async with full(Gate()) as target, known_as(OWN + "x", target) as channel:
        error = await failure(channel)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_calls_that_count_as_indexing_exist() -> None:
    service = query_service_pb2.DESCRIPTOR.services_by_name["QueryService"]
    known = {f"/{service.full_name}/{name}" for name in service.methods_by_name}
    assert known >= load._INDEXING


@pytest.mark.parametrize("kind", ["unary_unary", "stream_unary"])
async def test_callers_that_send_nothing_keep_nobody_out(kind: str) -> None:
    admission = Admission("probe", Load(), most=9, busy=1, queued=9, seconds=20, indexing=1)
    gate = Gate()
    gate.open.set()
    layers = [ErrorInterceptor(), LoadInterceptor(admission, OWN)]
    server = GrpcServer("127.0.0.1", 0, interceptors=layers)
    server.add(SERVICE, add_probe, gate.behaviour)
    await server.start()
    method = "UnaryUnary" if kind == "unary_unary" else "StreamUnary"
    try:
        async with create_channel(f"127.0.0.1:{server.port}") as channel, asyncio.timeout(20):
            # To this one every call is a stream, and so may leave out what the server waits for.
            open_call: Any = channel.stream_unary(f"/{SERVICE}/{method}")
            silent = [open_call() for _ in range(3)]
            while admission.running < len(silent):  # noqa: ASYNC110 # nobody is told
                await asyncio.sleep(0.001)
            assert (await call(channel, method))[0].texts == ["finished"]
            assert admission.running == len(silent)
            for each in silent:
                each.cancel()
    finally:
        await server.stop(0)
