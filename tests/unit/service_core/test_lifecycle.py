import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from service_core.channel import create_channel
from service_core.lifecycle import loop_factory, run
from service_core.server import GrpcServer
from tests.unit.service_core.probe import REFUSED, call, health, refused

ROOT = Path(__file__).parents[3]

PROGRAM = """
import asyncio, sys
from service_core.interceptors import ErrorInterceptor
from service_core.lifecycle import run
from service_core.logs import configure_logs
from service_core.server import GrpcServer
from tests.unit.service_core.probe import SERVICE, Message, add_probe

configure_logs()
mode = sys.argv[1]

async def behaviour(context):
    print("running", flush=True)
    if mode == "hang":
        await asyncio.Event().wait()
    # The answer comes once the test has seen that the server takes no more calls.
    await asyncio.to_thread(sys.stdin.readline)
    yield Message(texts=["finished"])

async def start(resources):
    resources.callback(print, "closed", flush=True)
    if mode == "starting":
        print("starting", flush=True)
        await asyncio.Event().wait()
    server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
    server.add(SERVICE, add_probe, behaviour)
    await server.start()
    await server.set_serving()
    print(server.port, flush=True)
    return [server]

async def reload():
    print("reloaded", flush=True)
    if mode == "bad":
        raise ValueError

run(start, grace=float(sys.argv[2]), settle=float(sys.argv[3]), reload=reload)
print("returned", flush=True)
"""


@asynccontextmanager
async def program(mode: str, grace: float = 1000, settle: float = 0) -> AsyncIterator[Process]:
    path = os.pathsep.join((str(ROOT), str(ROOT / "generated")))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        mode,
        str(grace),
        str(settle),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()


async def finished(process: Process) -> int:
    return await asyncio.wait_for(process.wait(), 60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_running_request_finish_and_refuses_new_ones(
    number: signal.Signals,
) -> None:
    async with program("answer") as process:
        target = f"127.0.0.1:{await line(process)}"
        async with create_channel(target) as channel:
            watch = health(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            request = asyncio.create_task(call(channel, "UnaryStream"))
            assert await line(process) == "running"
            process.send_signal(number)
            async with create_channel(target) as late:
                assert await refused(late) in REFUSED
            assert process.stdin is not None
            process.stdin.write(b"go on\n")
            assert [answer.texts[0] for answer in await request] == ["finished"]
            assert [await line(process), await line(process)] == ["closed", "returned"]
            assert await finished(process) == 0


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
async def test_a_request_that_does_not_end_is_ended_as_unavailable_within_the_grace(
    kind: str,
) -> None:
    async with program("hang", grace=1) as process:
        async with create_channel(f"127.0.0.1:{await line(process)}") as channel:
            request = asyncio.create_task(call(channel, kind))
            assert await line(process) == "running"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await request
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shuts down" in (caught.value.details() or "")
        assert await line(process) == "closed"
        assert await finished(process) == 0


async def test_a_second_signal_ends_at_once() -> None:
    async with (
        program("hang") as process,
        create_channel(f"127.0.0.1:{await line(process)}") as channel,
    ):
        request = asyncio.create_task(call(channel, "UnaryUnary"))
        assert await line(process) == "running"
        process.send_signal(signal.SIGTERM)
        await refused(channel)
        process.send_signal(signal.SIGTERM)
        assert await finished(process) == -signal.SIGTERM
        with pytest.raises(grpc.aio.AioRpcError):
            await request


async def test_while_it_settles_it_says_not_serving_and_answers_on() -> None:
    async with (
        program("answer", settle=1000) as process,
        create_channel(f"127.0.0.1:{await line(process)}") as channel,
    ):
        watch = health(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        request = asyncio.create_task(call(channel, "UnaryUnary"))
        assert await line(process) == "running"
        assert process.stdin is not None
        process.stdin.write(b"go on\n")
        assert (await request)[0].texts == ["finished"]


@pytest.mark.parametrize("mode", ["answer", "bad"])
async def test_a_hang_up_reloads_and_ends_nothing(mode: str) -> None:
    async with program(mode) as process:
        target = f"127.0.0.1:{await line(process)}"
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert await line(process) == "reloaded"
        async with create_channel(target) as channel:
            answer = await health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 60)
        assert (b"reload failed" in log) == (mode == "bad")


async def test_a_signal_during_the_start_closes_what_was_opened() -> None:
    async with program("starting") as process:
        assert await line(process) == "starting"
        process.send_signal(signal.SIGTERM)
        assert await line(process) == "closed"
        assert await finished(process) == 0


def test_a_start_that_fails_closes_what_was_opened_and_says_why() -> None:
    closed: list[str] = []

    async def start(resources: AsyncExitStack) -> Sequence[GrpcServer]:
        resources.callback(closed.append, "pool")
        raise TimeoutError("the models did not load")

    with pytest.raises(TimeoutError, match="the models did not load"):
        run(start)
    assert closed == ["pool"]


def test_servers_stop_in_the_order_in_which_requests_reach_them() -> None:
    stopped: list[str] = []

    class Recorded(GrpcServer):
        async def stop(self, grace: float) -> None:
            stopped.append(self.host)
            await super().stop(grace)

    async def start(_: AsyncExitStack) -> Sequence[GrpcServer]:
        servers = [Recorded("127.0.0.1", 0), Recorded("127.0.0.2", 0)]
        for server in servers:
            await server.start()
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        return servers

    run(start)
    assert stopped == ["127.0.0.1", "127.0.0.2"]


def test_uvloop_runs_the_servers() -> None:
    factory = loop_factory()
    assert factory is not None
    loop = factory()
    assert type(loop).__module__.startswith("uvloop")
    loop.close()
