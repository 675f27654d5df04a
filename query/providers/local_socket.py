"""The socket file that the local engine listens on: its folder, and a connection to it."""

import http.client
import os
import socket
import tempfile
from pathlib import Path

_SOCKET_PATH_LIMIT = 100  # bytes of sun_path that every system has


def private_folder() -> str:
    """A new folder that only this user can enter, its path short enough for a socket file."""
    folder = tempfile.mkdtemp(prefix="cascada-")
    if len(os.fsencode(folder)) <= _SOCKET_PATH_LIMIT - len("/engine.sock"):
        return folder
    Path(folder).rmdir()
    return tempfile.mkdtemp(prefix="cascada-", dir="/tmp")


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connect to the file."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
