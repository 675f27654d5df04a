import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.embedding.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_core.channel import create_channel
from service_core.interceptors import ErrorInterceptor
from service_core.server import BindError, GrpcServer
from tests.unit.service_core.probe import (
    REFUSED,
    SERVICE,
    Context,
    Message,
    add_probe,
    call,
    health,
    refused,
)

EMBEDDING = "cascada.embedding.v1.EmbeddingService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Embedding(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    async def Embed(  # noqa: N802 # the RPC's name
        self,
        request: Message,  # noqa: ARG002 # the RPC's signature
        context: Context,  # noqa: ARG002 # the RPC's signature
    ) -> embedding_service_pb2.EmbedResponse:
        return embedding_service_pb2.EmbedResponse()


async def idle(_: Context) -> AsyncIterator[Message]:
    yield Message()


async def start(port: int = 0) -> GrpcServer:
    server = GrpcServer("127.0.0.1", port, interceptors=[ErrorInterceptor()])
    server.add(
        EMBEDDING,
        embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
        Embedding(),
    )
    server.add(SERVICE, add_probe, idle)
    await server.start()
    return server


@pytest.fixture
async def server() -> AsyncIterator[GrpcServer]:
    server = await start()
    yield server
    await server.stop(0)


@pytest.fixture
async def channel(server: GrpcServer) -> AsyncIterator[grpc.aio.Channel]:
    async with create_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def reflection(channel: grpc.aio.Channel) -> Any:
    """The reflection stub, which is typed for sync channels only."""
    return reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]


async def state(channel: grpc.aio.Channel, service: str) -> int:
    answer = await health(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
    return int(answer.status)


async def test_nothing_serves_until_it_is_ready(channel: grpc.aio.Channel) -> None:
    for service in ("", EMBEDDING, SERVICE):
        assert await state(channel, service) == NOT_SERVING


async def test_a_service_serves_by_itself_and_the_server_when_all_do(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    await server.set_serving(EMBEDDING)
    assert await state(channel, EMBEDDING) == SERVING
    assert await state(channel, "") == NOT_SERVING
    await server.set_serving(SERVICE)
    assert await state(channel, "") == SERVING
    await server.set_serving(EMBEDDING, serving=False)
    assert await state(channel, "") == NOT_SERVING


async def test_the_list_of_states_has_the_whole_and_every_service(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    await server.set_serving(EMBEDDING)
    answer = await health(channel).List(health_pb2.HealthListRequest(), timeout=20)
    assert {name: state.status for name, state in answer.statuses.items()} == {
        "": NOT_SERVING,
        EMBEDDING: SERVING,
        SERVICE: NOT_SERVING,
    }


async def test_the_health_of_an_unknown_service_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await state(channel, "cascada.Nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_server_that_refuses_does_not_serve_again(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    await server.set_serving()
    await server.refuse()
    await server.set_serving()
    assert await state(channel, "") == NOT_SERVING


async def test_an_unknown_service_cannot_be_set_to_serving(server: GrpcServer) -> None:
    with pytest.raises(KeyError):
        await server.set_serving("cascada.Nobody")


async def test_reflection_lists_every_service(channel: grpc.aio.Channel) -> None:
    stub = reflection(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    async for answer in stub.ServerReflectionInfo(iter([request]), timeout=20):
        assert {service.name for service in answer.list_services_response.service} == {
            EMBEDDING,
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


async def test_grpcurl_describes_and_calls_by_reflection(server: GrpcServer) -> None:
    grpcurl = shutil.which("grpcurl", path=str(Path(sys.executable).parent))
    assert grpcurl is not None
    address = f"127.0.0.1:{server.port}"

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            grpcurl, "-plaintext", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    assert "rpc Embed (" in await run(address, "describe", EMBEDDING)
    assert f"{EMBEDDING}.Embed is a method" in await run(address, "describe", f"{EMBEDDING}.Embed")
    assert json.loads(await run("-d", '{"texts": ["a"]}', address, f"{EMBEDDING}/Embed")) == {}


async def test_a_port_that_is_taken_is_an_error_that_names_it(server: GrpcServer) -> None:
    with pytest.raises(BindError, match=f"Port {server.port} on 127.0.0.1"):
        await start(server.port)


async def test_an_open_health_watch_does_not_hold_the_stop_up(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    await server.set_serving()
    watch = health(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    # The grace is longer than the limit of a test.
    await asyncio.wait_for(server.stop(grace=1000), 60)
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_open_reflection_stream_does_not_hold_the_stop_up(
    server: GrpcServer, channel: grpc.aio.Channel
) -> None:
    stub = reflection(channel)
    stream = stub.ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
    await stream.read()
    await asyncio.wait_for(server.stop(grace=1000), 60)
    assert await stream.read() is grpc.aio.EOF


async def test_a_call_that_runs_may_finish_within_the_grace() -> None:
    running, finish = asyncio.Event(), asyncio.Event()

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        running.set()
        await finish.wait()
        yield Message(texts=["finished"])

    server = GrpcServer("127.0.0.1", 0)
    server.add(SERVICE, add_probe, behaviour)
    await server.start()
    async with create_channel(f"127.0.0.1:{server.port}") as channel:
        task = asyncio.create_task(call(channel, "UnaryStream"))
        await running.wait()
        stop = asyncio.create_task(server.stop(grace=1000))
        assert await refused(channel) in REFUSED
        finish.set()
        assert [answer.texts[0] for answer in await task] == ["finished"]
        await stop


async def test_a_server_listens_on_a_unix_socket_beside_its_port(tmp_path: Path) -> None:
    server = GrpcServer("127.0.0.1", 0, socket=tmp_path / "probe.sock")
    server.add(SERVICE, add_probe, idle)
    await server.start()
    try:
        assert server.socket_target == f"unix:{tmp_path / 'probe.sock'}"
        for target in (server.socket_target, f"127.0.0.1:{server.port}"):
            async with create_channel(target) as channel:
                assert await call(channel, "UnaryUnary")
    finally:
        await server.stop(0)


async def test_a_socket_that_cannot_be_is_an_error_that_names_it(tmp_path: Path) -> None:
    server = GrpcServer("127.0.0.1", 0, socket=tmp_path / "nowhere" / "probe.sock")
    with pytest.raises(BindError, match=r"nowhere/probe\.sock"):
        await server.start()


async def test_a_second_server_that_finds_the_port_taken_leaves_the_socket_to_the_first(
    tmp_path: Path,
) -> None:
    first = GrpcServer("127.0.0.1", 0, socket=tmp_path / "probe.sock")
    first.add(SERVICE, add_probe, idle)
    await first.start()
    try:
        second = GrpcServer("127.0.0.1", first.port, socket=tmp_path / "probe.sock")
        with pytest.raises(BindError, match=f"Port {first.port}"):
            await second.start()
        assert first.socket_target is not None
        async with create_channel(first.socket_target) as channel:
            assert await call(channel, "UnaryUnary")
    finally:
        await first.stop(0)


async def test_serving_is_waited_for_until_every_service_serves(server: GrpcServer) -> None:
    waiting = asyncio.create_task(server.serving())
    await server.set_serving(EMBEDDING)
    await asyncio.sleep(0)
    assert not waiting.done()
    await server.set_serving(SERVICE)
    await asyncio.wait_for(waiting, 20)
