"""A small server that speaks Milvus' protocol, with full text, from the package `milvus-lite`.

It listens on a free port of 127.0.0.1 and keeps its data in a temporary folder of its own. It ends
with the process that started it, whatever becomes of that.
"""

import socket
import sys
from contextlib import suppress
from uuid import uuid4

from pymilvus import MilvusClient
from typing_extensions import override

from tests.servers.guarded import GuardedServer, free_port


class MilvusLiteServer(GuardedServer):
    """One server; `with` starts and stops it."""

    def __init__(self) -> None:
        super().__init__("milvus-lite")
        self.port = free_port()

    @property
    def url(self) -> str:
        """Its URL for the store."""
        return f"milvus://127.0.0.1:{self.port}"

    def create_database(self) -> str:
        """Make an empty database, and return its URL for the store."""
        name = f"made_{uuid4().hex}"
        client = MilvusClient(uri=f"http://127.0.0.1:{self.port}", timeout=10.0, dedicated=True)
        try:
            client.create_database(name, timeout=10.0)
        finally:
            client.close()
        return f"{self.url}/{name}"

    @override
    def start(self) -> None:
        self._launch(
            [
                *(sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"),
                *("--port", str(self.port), "--data-dir", str(self._folder / "data")),
            ]
        )

    @override
    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False
