"""Files that are read again when they change: certificates and tokens."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

POLL_SECONDS = 0.25

_log = structlog.stdlib.get_logger(__name__)

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class _Watched:
    paths: Sequence[Path]
    reload: Callable[[], Awaitable[object]]
    stamp: _Stamp | None = None
    """None until it is first looked at: what changed before is found then."""


class Watch:
    """Looks at files and has those that have changed read again; follows mounted volumes' links."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []

    def add(self, paths: Sequence[Path], reload: Callable[[], Awaitable[object]]) -> None:
        """Have `reload` called whenever one of the files changes; it must leave what is good."""
        self._watched.append(_Watched(paths, reload))

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            every = tuple(self._watched)
            stamps = await asyncio.to_thread(_look, every)
            changed = []
            for watched, stamp in zip(every, stamps, strict=True):
                if stamp != watched.stamp:
                    watched.stamp = stamp
                    changed.append(self._reload(watched))
            # At once: a channel that takes its time to connect holds up no other change.
            await asyncio.gather(*changed)

    async def reload(self) -> None:
        """Have all files read again now, changed or not."""
        await asyncio.gather(*(self._reload(watched) for watched in tuple(self._watched)))

    async def _reload(self, watched: _Watched) -> None:
        try:
            await watched.reload()
        except Exception as error:  # noqa: BLE001 # the watch has to go on, whatever it was
            _log.error("files can't be taken over", error=type(error).__name__)


def _look(every: Sequence[_Watched]) -> list[_Stamp]:
    return [tuple(_stamp(path) for path in watched.paths) for watched in every]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
