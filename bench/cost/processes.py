"""Processes to measure, and what the kernel says that they have used."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[2]
NOTHING: Mapping[str, str] = MappingProxyType({})

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STOP_SECONDS = 10.0


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes and of all their children, living and dead."""
    total = 0
    for pid in tree(pids):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))  # utime, stime, and those of reaped children
    return total / _TICKS


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of the processes and their living children."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) for pid in tree(pids))
    return sum(pages) * _PAGE


def tree(pids: Sequence[int]) -> list[int]:
    """The processes and their living descendants."""
    found = list(pids)
    for pid in found:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text("utf-8").split())
    return found


def free_port() -> int:
    """A port that nothing listens on."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 # a port is no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def environ(own: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """Nothing of this shell's but what finds programs, and the given."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "generated")]),
        "PYTHONUNBUFFERED": "1",
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        **own,
    }


@asynccontextmanager
async def running(
    command: Sequence[str], own: Mapping[str, str] = NOTHING, *, folder: Path | None = None
) -> AsyncIterator[int]:
    """Run a program for the block, and give its process id; its output is shown if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ(own),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


def python(*arguments: str) -> list[str]:
    """This interpreter with the arguments."""
    return [sys.executable, *arguments]


async def listening(port: int, seconds: float = 60.0) -> None:
    """Wait until something accepts connections at the port."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
