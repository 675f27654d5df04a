"""The port at which Prometheus reads the metrics of a process."""

import asyncio
import threading
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, start_http_server

_log = structlog.stdlib.get_logger(__name__)


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
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        _log.warning(
            "metrics_port_unavailable",
            host=host,
            port=port,
            error=error.strerror or type(error).__name__,
            advice="the metrics of this process are not served; give it a port of its own",
        )
        return None
    return MetricsPort(server, thread)
