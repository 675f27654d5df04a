"""A wall clock of its own for each process of a cluster, which a test can move."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.nodes import MEMBERS, Node

_SOURCE = Path(__file__).with_name("clock.c")


class Clocks:
    """The clocks, which begin right."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = folder / "clock.so"
        for node in MEMBERS:
            self.set(node, 0)

    @staticmethod
    def compiler() -> str | None:
        """What can make them; None where nothing can."""
        return shutil.which("cc")

    async def make(self) -> None:
        """Compile what makes a process follow its clock."""
        compiler = self.compiler()
        assert compiler is not None
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(self._library), str(_SOURCE)]
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0

    def environ(self, node: Node) -> Mapping[str, str]:
        """The variables that make a process follow its clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "CLOCK_OFFSET_FILE": str(self._file(node)),
        }

    def set(self, node: Node, seconds: int) -> None:
        """Put a clock ahead, or behind."""
        with self._file(node).open("r+b" if self._file(node).exists() else "w+b") as file:
            file.write((seconds * 10**9).to_bytes(8, "little", signed=True))

    def _file(self, node: Node) -> Path:
        return self._folder / f"{node}.clock"
