"""What Ray has started: its processes, its workers, where they listen."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTENING = "0A"
_PROC = Path("/proc")


def descendants(root: int) -> set[int]:
    """The processes below a process."""
    parents: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def workers(root: int) -> list[int]:
    """Our workers below a process."""
    return sorted(pid for pid in descendants(root) if "CascadaWorker" in _title(pid))


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    return (_PROC / str(pid)).exists()


def kill(pid: int) -> None:
    """End a process as the kernel does that is out of memory."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def listening(root: int) -> set[str]:
    """The addresses, as the kernel writes them, on which the processes below a process listen."""
    sockets: set[str] = set()
    for pid in descendants(root):
        with suppress(OSError):
            for entry in (_PROC / str(pid) / "fd").iterdir():
                with suppress(OSError):
                    sockets.add(os.readlink(entry))  # noqa: PTH115 # it leads to no file
    return {address for inode, address in _listeners() if f"socket:[{inode}]" in sockets}


def is_loopback(address: str) -> bool:
    """Whether an address of /proc/net/tcp or tcp6 is one."""
    return address in {"0100007F", "0000000000000000FFFF00000100007F"} or (
        address == "00000000000000000000000001000000"
    )


def names_in(folder: Path) -> set[str]:
    """What a folder holds."""
    return {entry.name for entry in folder.iterdir()}


def files_with(folder: Path, text: str) -> list[Path]:
    """The files below a folder that hold a text."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path)
    return found


def _listeners() -> Iterator[tuple[str, str]]:
    for name in ("tcp", "tcp6"):
        for line in (_PROC / "net" / name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING:
                yield fields[9], fields[1].partition(":")[0]


def _title(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
