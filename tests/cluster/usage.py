"""What a process holds: memory, file descriptors, sockets, threads and tasks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

import aiohttp

from tests.cluster.cluster import METRICS, Cluster
from tests.cluster.nodes import Node

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at a process."""

    resident: float
    """Bytes of memory."""
    descriptors: float
    sockets: float
    threads: float
    tasks: float

    def __str__(self) -> str:
        return (
            f"{self.resident / 2**20:7.1f} MiB {self.descriptors:5.0f} descriptors "
            f"{self.sockets:5.0f} sockets {self.threads:4.0f} threads {self.tasks:5.0f} tasks"
        )


async def usage(cluster: Cluster, node: Node) -> Usage:
    """Look at a process."""
    folder = Path("/proc") / str(cluster.programs[node].process.pid)
    descriptors = [str(path.readlink()) for path in _there(folder / "fd")]
    return Usage(
        resident=int((folder / "statm").read_text(encoding="ascii").split()[1]) * _PAGE,
        descriptors=len(descriptors),
        sockets=sum(name.startswith("socket:") for name in descriptors),
        threads=len(list((folder / "task").iterdir())),
        tasks=await _tasks(cluster, node),
    )


def typical(looks: Sequence[Usage]) -> Usage:
    """The median of each."""
    return Usage(*(median(getattr(look, field.name) for look in looks) for field in fields(Usage)))


def _there(folder: Path) -> list[Path]:
    """The descriptors that are still open when they are looked at."""
    return [path for path in folder.iterdir() if path.is_symlink()]


async def _tasks(cluster: Cluster, node: Node) -> float:
    url = f"http://{cluster.network.host(node)}:{cluster.ports[METRICS]}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("cascada_tasks "))
