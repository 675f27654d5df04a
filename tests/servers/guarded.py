"""A server program in a temporary folder, that ends with the process that started it.

Nothing that it has written need outlive it, so it is ended by kill -9: at once, and by surprise.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

START_SECONDS = 60.0

_GUARD = Path(__file__).with_name("guard.py")


class GuardedServer(ABC):
    """One server; `with` starts and stops it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._folder = Path(tempfile.mkdtemp(prefix=f"cascada-{name}-"))
        self._guard: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it, after `halt` too, and wait until it answers; RuntimeError if it never does."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it answers now."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def halt(self) -> None:
        """End it, and keep what it has written."""
        if self._guard is not None:
            guard, self._guard = self._guard, None
            assert guard.stdin is not None
            with suppress(BrokenPipeError):
                guard.stdin.close()
            guard.wait()

    def pause(self) -> None:
        """Let it go silent, its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and remove all that it has written."""
        self.halt()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        assert self._guard is not None
        os.killpg(self._guard.pid, number)

    def _launch(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        with (self._folder / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-S", str(_GUARD), "", str(int(signal.SIGKILL)), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        last = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._guard.poll() is not None or time.monotonic() > last:
                raise RuntimeError(f"{self._name} does not start:\n{self.log}")
            time.sleep(0.05)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
