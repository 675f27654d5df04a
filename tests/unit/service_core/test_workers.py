import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service_core import workers
from service_core.workers import Supervisor, WorkersError
from tests.system.waiting import until

SERVES = """
import json, os, signal, socket, sys
link = socket.socket(fileno=int(os.environ["CASCADA_WORKER_SOCKET"]))
def tell(**facts): link.sendall(json.dumps(facts).encode() + b"\\n")
def note(what): open(sys.argv[1], "a").write(f"{what} {os.getpid()}\\n")
signal.signal(signal.SIGTERM, lambda *_: (note("term"), sys.exit(0)))
signal.signal(signal.SIGHUP, lambda *_: note("hup"))
note("start")
tell(serving=True, metrics_port=os.getpid())
while True: signal.pause()
"""
FAILS = """
import json, os, socket, sys
open(sys.argv[1], "a").write(f"start {os.getpid()}\\n")
link = socket.socket(fileno=int(os.environ["CASCADA_WORKER_SOCKET"]))
link.sendall(json.dumps({"failed": "The store is away.", "exit_code": 2}).encode() + b"\\n")
sys.exit(2)
"""
DIES = """
import os, sys
open(sys.argv[1], "a").write(f"start {os.getpid()}\\n")
sys.exit(3)
"""
STAYS = SERVES.replace("sys.exit(0)", "None")


class Notes:
    """What the workers have noted."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = path

    def pids(self, what: str) -> list[int]:
        lines = self.path.read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith(what + " ")]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_FIRST_PAUSE", 0.01)


@asynccontextmanager
async def running(
    program: str, notes: Notes, count: int = 2, seconds: float = 20
) -> AsyncIterator[tuple[Supervisor, asyncio.Task[bool]]]:
    supervisor = Supervisor(
        [sys.executable, "-c", program, str(notes.path)], os.environ, count, seconds=seconds
    )
    task = asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait_for(supervisor.serving(), 20)
        yield supervisor, task
    finally:
        if not task.done():
            signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(task, 30)


async def test_as_many_run_as_were_asked_for(notes: Notes) -> None:
    async with running(SERVES, notes, count=3) as (supervisor, _):
        assert sorted(supervisor.metrics_ports().values()) == sorted(notes.pids("start"))
        assert len(set(notes.pids("start"))) == 3


async def test_a_signal_to_stop_ends_them_all_well(notes: Notes) -> None:
    async with running(SERVES, notes) as (_, task):
        signal.raise_signal(signal.SIGTERM)
        assert await asyncio.wait_for(task, 20) is True
    assert sorted(notes.pids("term")) == sorted(notes.pids("start"))


async def test_a_dead_one_is_replaced(notes: Notes) -> None:
    async with running(SERVES, notes) as (supervisor, _):
        first = dict(supervisor.metrics_ports())
        os.kill(first[0], signal.SIGKILL)
        await until(lambda: len(notes.pids("start")) == 3, "another worker")
        await until(lambda: len(supervisor.metrics_ports()) == 2, "it serves")
        assert supervisor.metrics_ports()[0] not in first.values()
        assert supervisor.metrics_ports()[1] == first[1]
        assert supervisor.replaced == 1


async def test_a_reload_reaches_them_all(notes: Notes) -> None:
    async with running(SERVES, notes):
        signal.raise_signal(signal.SIGHUP)
        await until(lambda: len(notes.pids("hup")) == 2, "both have heard")


async def test_one_that_does_not_end_is_killed(notes: Notes) -> None:
    async with running(STAYS, notes, seconds=0.2) as (_, task):
        signal.raise_signal(signal.SIGTERM)
        assert await asyncio.wait_for(task, 20) is False


async def test_what_a_worker_says_at_the_first_start_is_the_error(notes: Notes) -> None:
    supervisor = Supervisor(
        [sys.executable, "-c", FAILS, str(notes.path)], os.environ, 2, seconds=20
    )
    with pytest.raises(WorkersError, match=r"The store is away\.") as caught:
        await asyncio.wait_for(supervisor.run(), 20)
    assert caught.value.exit_code == 2
    assert len(notes.pids("start")) <= 2


async def test_workers_that_never_serve_are_given_up(notes: Notes) -> None:
    supervisor = Supervisor(
        [sys.executable, "-c", DIES, str(notes.path)], os.environ, 1, seconds=20
    )
    with pytest.raises(WorkersError, match="end with code 3"):
        await asyncio.wait_for(supervisor.run(), 20)
    assert len(notes.pids("start")) == workers.FAILURES
