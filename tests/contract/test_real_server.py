"""A real grpc.aio server in a test, called by every kind of client that a team may have.

grpcio-testing cannot do this: its server hands back an async servicer's coroutine, never awaited,
with status OK.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1 import agent_execution_service_pb2_grpc as agent_execution_grpc
from google.protobuf import json_format

from tests.contract import image
from tests.contract.blocking import agent_execution_stub
from tests.contract.example_client import Assistant

SERVICE = "cascada.agent_execution.v1.AgentExecutionService"


class EchoServicer(agent_execution_grpc.AgentExecutionServiceServicer):
    """Answers with the message itself, in a stream word by word."""

    async def Execute(  # noqa: N802 - gRPC names it
        self,
        request: agent_execution.ExecuteRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> agent_execution.ExecuteResponse:
        if not request.message:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "message: must not be empty")
        return agent_execution.ExecuteResponse(answer=f"eco: {request.message}")

    async def StreamExecute(  # noqa: N802 - gRPC names it
        self,
        request: agent_execution.StreamExecuteRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC calls it so
    ) -> AsyncIterator[agent_execution.StreamExecuteResponse]:
        for word in request.message.split():
            yield agent_execution.StreamExecuteResponse(delta=word)
        yield agent_execution.StreamExecuteResponse(
            completed=agent_execution.ExecuteResponse(answer=request.message)
        )


@pytest.fixture
async def target() -> AsyncIterator[str]:
    """Address of a server that runs on a free loopback port while the test does."""
    # Without this option a second server could bind the same port unnoticed.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    agent_execution_grpc.add_AgentExecutionServiceServicer_to_server(EchoServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(grace=None)


@pytest.fixture
async def channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(target) as opened:
        yield opened


async def test_the_async_stub_gets_an_answer(channel: grpc.aio.Channel) -> None:
    stub = agent_execution_grpc.AgentExecutionServiceStub(channel)
    response = await stub.Execute(agent_execution.ExecuteRequest(message="hola"), timeout=10)
    assert response.answer == "eco: hola"


async def test_the_async_stub_gets_a_stream(channel: grpc.aio.Channel) -> None:
    stub = agent_execution_grpc.AgentExecutionServiceStub(channel)
    request = agent_execution.StreamExecuteRequest(message="uno dos")
    kinds = [event.WhichOneof("event") async for event in stub.StreamExecute(request, timeout=10)]
    assert kinds == ["delta", "delta", "completed"]


async def test_the_async_stub_gets_an_error(channel: grpc.aio.Channel) -> None:
    stub = agent_execution_grpc.AgentExecutionServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Execute(agent_execution.ExecuteRequest(), timeout=10)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_blocking_stub_gets_an_answer(target: str) -> None:
    def call() -> str:
        with grpc.insecure_channel(target) as opened:
            request = agent_execution.ExecuteRequest(message="hola")
            return agent_execution_stub(opened).Execute(request, timeout=10).answer

    # In a thread: the server runs on this loop, which a blocking call would stop.
    assert await asyncio.to_thread(call) == "eco: hola"


async def test_the_blocking_stub_gets_a_stream(target: str) -> None:
    def call() -> list[str]:
        with grpc.insecure_channel(target) as opened:
            return list(Assistant(opened).ask_live("uno dos"))

    assert await asyncio.to_thread(call) == ["uno", "unodos", "uno dos"]


async def test_a_client_made_of_the_image_alone_gets_an_answer(channel: grpc.aio.Channel) -> None:
    contract = image.load()
    request = contract.message("cascada.agent_execution.v1.ExecuteRequest")()
    json_format.ParseDict({"message": "hola"}, request)
    response = await contract.unary(channel, SERVICE, "Execute")(request, timeout=10)
    assert json_format.MessageToDict(response) == {"answer": "eco: hola"}


async def test_a_client_made_of_the_image_alone_gets_a_stream(channel: grpc.aio.Channel) -> None:
    contract = image.load()
    request = contract.message("cascada.agent_execution.v1.StreamExecuteRequest")()
    json_format.ParseDict({"message": "uno dos"}, request)
    call = contract.server_stream(channel, SERVICE, "StreamExecute")(request, timeout=10)
    events = [json_format.MessageToDict(event) async for event in call]
    assert events == [{"delta": "uno"}, {"delta": "dos"}, {"completed": {"answer": "uno dos"}}]
