"""The port at which Prometheus reads the metrics of a process."""

import asyncio
import socket
import sys
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

_log = structlog.stdlib.get_logger(__name__)

READ_SECONDS = 10.0
"""How long a reader may take to say what it wants; a thread waits for each."""


class _Handler(WSGIRequestHandler):
    """Answers one reader, without a line for it."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the library's own
        """Nothing: a reader comes every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    """Gives each reader a thread."""

    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        """The next reader, who may not hold its thread for ever."""
        connection, address = super().get_request()
        connection.settimeout(READ_SECONDS)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 # the library's own
        """Say in the log what the library would write beside it: a reader has gone, mostly."""
        _log.debug("a reader of the metrics broke off", error=type(sys.exception()).__name__)


class _Server6(_Server):
    """The same at an address of IPv6."""

    address_family = socket.AF_INET6


class MetricsPort:
    """An open Prometheus port."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_port

    async def close(self) -> None:
        """Stops answering and frees the port."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start_metrics_port(
    registry: CollectorRegistry, host: str, port: int | None
) -> MetricsPort | None:
    """Serves the registry to Prometheus over HTTP, in a thread of its own.

    Args:
        registry: What is served.
        host: The address to listen on.
        port: None serves nothing; 0 takes a free one, as for gRPC.

    Returns:
        The open port; None where none was asked for or the port is taken. The second of several
        services on one machine finds the default port taken: it answers requests all the same, and
        a warning says that its metrics need a port of their own.
    """
    if port is None:
        return None
    try:
        server = _bound(host, port, registry)
    except OSError as error:
        _log.warning(
            "metrics_port_unavailable",
            host=host,
            port=port,
            error=error.strerror or type(error).__name__,
            advice="the metrics of this process are not served; give it a port of its own",
        )
        return None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return MetricsPort(server, thread)


def _bound(host: str, port: int, registry: CollectorRegistry) -> WSGIServer:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = found[0]
    kind = _Server6 if family == socket.AF_INET6 else _Server
    return make_server(str(address[0]), port, make_wsgi_app(registry), kind, _Handler)
