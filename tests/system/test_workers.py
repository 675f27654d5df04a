"""`cascada serve --workers`: several processes, one place to reach them."""

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub

from tests.system.asking import UPSTREAM_MODELS, Paced, base_urls
from tests.system.cluster import CALL_SECONDS, SERVICES, Cluster, free_ports, open_channel
from tests.system.program import Program
from tests.system.waiting import until
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

COMMAND = ("-m", "cli", "serve", "all", "--json", "--workers", "2")


class Workers:
    """Two workers and their supervisor."""

    def __init__(self, cluster: Cluster, program: Program, metrics: int) -> None:
        self.cluster = cluster
        self.program = program
        self._metrics = metrics

    def pids(self) -> list[int]:
        """The workers' processes."""
        supervisor = self.program.process.pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
        return sorted(map(int, children.split()))

    async def ask(self) -> None:
        """Ask over a connection of its own, which leads to any worker."""
        async with open_channel(self.cluster.target("agent-execution")) as channel:
            request = agent_execution.ExecuteRequest(message="hola")
            await AgentExecutionServiceStub(channel).Execute(request, timeout=CALL_SECONDS)

    async def page(self) -> str:
        """The page of metrics."""
        url = f"http://127.0.0.1:{self._metrics}/metrics"
        return await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())


@pytest.fixture
async def workers(tmp_path: Path, upstream: UpstreamServer) -> AsyncIterator[Workers]:
    (metrics,) = free_ports(1)
    environ = {
        **UPSTREAM_MODELS,
        **base_urls(upstream),
        "OPENAI_API_KEY": "a-key-1",
        "CASCADA_METRICS_PORT": str(metrics),
    }
    async with Cluster(tmp_path, environ) as cluster:
        program = await cluster.start(*COMMAND, environ=environ)
        for service in SERVICES:
            await cluster.serving(service, program)
        await until(lambda: '"ready": true' in program.text, "all workers")
        yield Workers(cluster, program, metrics)


async def test_all_workers_answer_and_one_page_has_the_metrics_of_each(workers: Workers) -> None:
    async with asyncio.timeout(CALL_SECONDS):
        while True:
            await workers.ask()
            counted = [
                line
                for line in (await workers.page()).splitlines()
                if line.startswith("cascada_requests_total") and 'service="agent' in line
            ]
            if len(counted) == 2:
                break
    assert any('worker="0"' in line for line in counted)
    assert any('worker="1"' in line for line in counted)


async def test_a_worker_that_is_killed_is_replaced(workers: Workers) -> None:
    before = workers.pids()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: workers.program.text.count("another takes its place") == 1, "the notice")
    await until(lambda: len(workers.pids()) == 2 and before[0] not in workers.pids(), "another")
    assert before[1] in workers.pids()
    async with asyncio.timeout(CALL_SECONDS):
        while "cascada_workers 2.0" not in await workers.page():  # noqa: ASYNC110 # it tells nobody
            await asyncio.sleep(0.1)
    for _ in range(4):
        await workers.ask()


async def test_workers_whose_supervisor_is_killed_end_by_themselves(workers: Workers) -> None:
    pids = workers.pids()
    workers.program.signal(signal.SIGKILL)
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "their end")


async def test_a_stream_finishes_after_sigterm_to_the_supervisor_and_the_exit_code_is_0(
    workers: Workers, upstream: UpstreamServer
) -> None:
    paced = Paced()
    upstream.script(paced)
    stub = AgentExecutionServiceStub(workers.cluster.channel("agent-execution"))
    call = stub.StreamExecute(
        agent_execution.StreamExecuteRequest(message="hola"), timeout=CALL_SECONDS
    )
    events = call.__aiter__()
    paced.release(2)
    await anext(events)
    workers.program.signal(signal.SIGTERM)
    await until(lambda: workers.program.text.count('"stopping"') == 2, "the drain of both")
    paced.release(len(Content().pieces))
    assert [event async for event in events][-1].completed.answer == Content().text
    assert await workers.program.ended() == 0


async def test_a_hang_up_reloads_every_worker(workers: Workers) -> None:
    workers.program.signal(signal.SIGHUP)
    await until(lambda: workers.program.text.count("configuration read again") == 2, "both")
    await workers.ask()


async def test_what_keeps_workers_from_starting_is_told_once(tmp_path: Path) -> None:
    async with Cluster(tmp_path, {"CASCADA_STORE": "nowhere://x"}) as cluster:
        program = await cluster.start(*COMMAND)
        assert await program.ended() == 2
        assert program.text.count("The vector store can't be opened") == 1


async def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", cluster.ports["query"])
        async with taken:
            program = await cluster.start(*COMMAND)
            assert await program.ended() == 1
        assert f"Port {cluster.ports['query']} on 127.0.0.1" in program.text


async def test_sockets_that_workers_would_have_to_share_are_refused(tmp_path: Path) -> None:
    async with Cluster(tmp_path, {"CASCADA_SOCKET_DIR": str(tmp_path)}) as cluster:
        program = await cluster.start(*COMMAND)
        assert await program.ended() == 2
        assert "CASCADA_SOCKET_DIR" in program.text
