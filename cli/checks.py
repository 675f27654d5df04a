"""One finding of `doctor`, and the small checks that findings are made of."""

import asyncio
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.client import is_reachable

CONNECT_SECONDS = 3.0

_DEFAULT_PORTS = {"http": 80, "https": 443}


class State(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing, nothing is wrong."""
    MISSING = "missing"
    """Not there; a request that needs it fails."""
    BROKEN = "broken"
    """Configured, and it does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    area: str
    what: str
    state: State
    detail: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """The finding for scripts."""
        return asdict(self)


async def accepts_connections(base_url: str) -> bool:
    """Tells whether something accepts TCP connections where the URL points; sends nothing."""
    parts = urlsplit(base_url)
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 443)
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, ValueError):  # time, look-ups, and a port that is no port
        return False
    writer.close()
    return True


async def health(channel: grpc.aio.Channel) -> str | None:
    """What the server says of itself, such as SERVING; None where none answers. Closes it."""
    async with channel:
        if not await is_reachable(channel, CONNECT_SECONDS):
            return None
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CONNECT_SECONDS)
        except grpc.aio.AioRpcError:
            return "no health service"
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name
