"""What this process holds: memory, sockets and tasks, as the system and asyncio see it."""

import asyncio
import gc
import os
from dataclasses import dataclass
from pathlib import Path

from aiohttp.web_protocol import RequestHandler

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_DESCRIPTORS = Path("/proc/self/fd")
_STATM = Path("/proc/self/statm")
_OF_A_CONNECTION = RequestHandler.start.__qualname__


@dataclass(frozen=True)
class Held:
    """Resident bytes, open sockets and asyncio tasks."""

    memory: int
    sockets: int
    tasks: int


def held() -> Held:
    """What is held now, garbage aside."""
    gc.collect()
    resident = int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    return Held(resident, open_sockets(), running_tasks())


def running_tasks() -> int:
    """Tasks of this event loop; the upstream's, one a connection, are counted as sockets."""
    return sum(
        getattr(task.get_coro(), "__qualname__", "") != _OF_A_CONNECTION
        for task in asyncio.all_tasks()
    )


def open_sockets() -> int:
    """Sockets of this process, those of gRPC's core included."""
    count = 0
    for descriptor in _DESCRIPTORS.iterdir():
        try:
            count += str(descriptor.readlink()).startswith("socket:")
        except OSError:  # closed meanwhile
            continue
    return count
