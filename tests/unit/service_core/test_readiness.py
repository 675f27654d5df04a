import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2

from service_core.channel import create_channel
from service_core.readiness import serve_when_loaded
from service_core.server import GrpcServer
from tests.unit.service_core.probe import SERVICE, Context, Message, add_probe, call, health, text

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def _answer(_: Context) -> AsyncIterator[Message]:
    yield text("answer")


@pytest.fixture
async def server() -> AsyncIterator[GrpcServer]:
    found = GrpcServer("127.0.0.1", 0)
    found.add(SERVICE, add_probe, _answer)
    await found.start()
    yield found
    await found.stop(0)


@pytest.fixture
async def channel(server: GrpcServer) -> AsyncIterator[grpc.aio.Channel]:
    async with create_channel(f"127.0.0.1:{server.port}") as found:
        yield found


async def status(channel: grpc.aio.Channel) -> Any:
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    return (await health(channel).Check(request, timeout=20)).status


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_without_a_model_to_load_it_serves_at_once(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    async with AsyncExitStack() as stack:
        await serve_when_loaded(server, None, stack)
        assert await status(channel) == SERVING


async def test_it_serves_once_the_model_is_loaded_and_not_before(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    loaded = asyncio.Event()

    async def load() -> None:
        await loaded.wait()

    async with AsyncExitStack() as stack:
        await serve_when_loaded(server, load, stack)
        assert await status(channel) == NOT_SERVING
        loaded.set()
        await settle()
        assert await status(channel) == SERVING


async def test_calls_are_answered_while_the_model_loads(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    async def load() -> None:
        await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        await serve_when_loaded(server, load, stack)
        assert await call(channel, "UnaryUnary") == [text("answer")]


async def test_a_model_that_cannot_be_loaded_leaves_it_not_serving_with_the_reason_in_the_log(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    async def load() -> None:
        raise OSError("the file is broken")

    with structlog.testing.capture_logs() as logs:
        async with AsyncExitStack() as stack:
            await serve_when_loaded(server, load, stack)
            await settle()
            assert await status(channel) == NOT_SERVING
            assert await call(channel, "UnaryUnary") == [text("answer")]
    assert [entry["why"] for entry in logs if entry["log_level"] == "error"] == [
        "the file is broken"
    ]


async def test_closing_ends_a_load_that_still_runs(server: GrpcServer) -> None:
    cancelled = asyncio.Event()

    async def load() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with AsyncExitStack() as stack:
        await serve_when_loaded(server, load, stack)
        await settle()
    assert cancelled.is_set()
