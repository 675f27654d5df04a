"""The worker's side: one of several processes that answer on the same ports.

The supervisor gives each worker one end of a socket. The worker tells there, in lines of JSON, that
it serves or why it can't; and when the other end closes the supervisor is gone, and so the worker
ends too.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import MutableMapping, Sequence
from typing import Self

import structlog

from service_core.server import GrpcServer

VARIABLE = "CASCADA_WORKER_SOCKET"
"""Between a supervisor and its workers only: the number of the socket."""

_log = structlog.stdlib.get_logger(__name__)


class Worker:
    """This process's line to its supervisor."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Self | None:
        """As the environment says, from which it is taken; None for a process of its own."""
        given = environ.pop(VARIABLE, None)
        return None if given is None else cls(socket.socket(fileno=int(given)))

    def failed(self, message: str, exit_code: int) -> None:
        """Tell why the worker can't start."""
        self._tell(failed=message, exit_code=exit_code)

    async def serving(self, servers: Sequence[GrpcServer], metrics_port: int | None) -> None:
        """Tell when all servers serve, and where its metrics are."""
        for server in servers:
            await server.serving()
        self._tell(serving=True, metrics_port=metrics_port)

    def watch(self) -> None:
        """From now on, end this process as SIGTERM does once the supervisor is gone."""
        self._link.settimeout(0)
        asyncio.get_running_loop().add_reader(self._link, self._closed)

    def unwatch(self) -> None:
        """End the watch; the supervisor can still be told."""
        asyncio.get_running_loop().remove_reader(self._link)

    def _closed(self) -> None:
        asyncio.get_running_loop().remove_reader(self._link)
        _log.warning("the supervisor is gone, the worker ends")
        os.kill(os.getpid(), signal.SIGTERM)

    def _tell(self, **facts: object) -> None:
        try:
            self._link.sendall(json.dumps(facts).encode() + b"\n")
        except OSError:
            _log.warning("the supervisor does not listen")
