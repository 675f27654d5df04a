"""One process of ours, started with nothing in its environment but what is given."""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_STOP_SECONDS = 20.0


@dataclass(slots=True)
class Program:
    """One process, and the files that it writes to."""

    process: asyncio.subprocess.Process
    out: Path
    log: Path

    @property
    def text(self) -> str:
        """Everything that it has written."""
        return "".join(path.read_text(encoding="utf-8") for path in (self.out, self.log))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def write(self, text: str) -> None:
        """Give it something on its standard input, if it was started with one."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        async with asyncio.timeout(_STOP_SECONDS):
            return await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL if that does not help; its exit code."""
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
        try:
            return await self.ended()
        finally:
            if self.process.returncode is None:
                self.signal(signal.SIGKILL)
                await self.process.wait()


async def run(
    *command: str, environ: Mapping[str, str], folder: Path, name: str, stdin: bool = False
) -> Program:
    """Start a program in `folder` with no other environment than this; its output goes to files."""
    out, log = folder / f"{name}.out", folder / f"{name}.log"
    clean = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "generated")]),
    }
    with out.open("wb") as out_file, log.open("wb") as log_file:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**clean, **environ},
            cwd=folder,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=out_file,
            stderr=log_file,
        )
    return Program(process, out, log)
