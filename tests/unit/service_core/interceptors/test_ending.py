import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from config_core.errors import Reason
from service_core.channel import create_channel
from service_core.interceptors import ErrorInterceptor
from service_core.server import GrpcServer
from tests.unit.service_core.probe import KINDS, SERVICE, Context, Message, add_probe, call, failure
from tests.unit.service_core.running import caught


class Hanging:
    """A behaviour that never ends by itself."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def behaviour(self, _: Context) -> AsyncIterator[Message]:
        yield Message(texts=["first"])
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def before_the_first(self, _: Context) -> AsyncIterator[Message]:
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        yield Message()


@asynccontextmanager
async def served(behaviour: object) -> AsyncIterator[tuple[GrpcServer, grpc.aio.Channel]]:
    server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
    server.add(SERVICE, add_probe, behaviour)
    await server.start()
    try:
        async with create_channel(f"127.0.0.1:{server.port}") as channel:
            yield server, channel
    finally:
        await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_is_ended_says_that_it_may_be_tried_again(kind: str) -> None:
    hanging = Hanging()
    async with served(hanging.before_the_first) as (server, channel):
        asking = asyncio.create_task(failure(channel, kind))
        await hanging.running.wait()
        server.end_calls()
        error = await asking
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert caught(error).code_reason is Reason.UPSTREAM_FAILED
    assert "shuts down" in (error.details() or "")
    assert hanging.cancelled.is_set()


async def test_a_stream_that_has_begun_is_ended_in_the_same_way() -> None:
    hanging = Hanging()
    received: list[Message] = []
    async with served(hanging.behaviour) as (server, channel):
        asking = asyncio.create_task(call(channel, "UnaryStream", received=received))
        await hanging.running.wait()
        server.end_calls()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asking
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert [message.texts[0] for message in received] == ["first"]


async def test_a_call_that_comes_afterwards_is_refused_in_the_same_way() -> None:
    async with served(Hanging().before_the_first) as (server, channel):
        server.end_calls()
        assert (await failure(channel)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_caller_that_leaves_is_still_a_cancellation() -> None:
    hanging = Hanging()
    async with served(hanging.before_the_first) as (_, channel):
        asking = asyncio.create_task(call(channel, "UnaryUnary"))
        await hanging.running.wait()
        asking.cancel()
        await asyncio.wait_for(hanging.cancelled.wait(), 20)
