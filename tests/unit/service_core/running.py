"""One of our services as its `app` builds it, on a real port, for the length of a test."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
from cascada.config.v1 import configuration_trace_pb2
from grpc_status import rpc_status

from config_core.errors import CascadaError
from config_core.snapshot import Snapshots
from service_core.channel import create_channel
from service_core.process import Build, Process, configure
from service_core.request_context import Peers
from service_core.status import from_status

PORTS = {
    f"CASCADA_{name}_PORT": "0" for name in ("AGENT_EXECUTION", "QUERY", "EMBEDDING", "METRICS")
}


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    channel: grpc.aio.Channel
    snapshots: Snapshots
    port: int


@asynccontextmanager
async def running(
    build: Build, environ: Mapping[str, str], peers: Peers | None = None
) -> AsyncIterator[Running]:
    """Serve on a free port; `peers` stands in for what the service thinks of who calls it."""
    settings, snapshots = configure({**PORTS, **environ})
    process = Process.of(settings, snapshots)
    if peers is not None:
        process = replace(process, peers=peers)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(process.limiter.aclose)
        server = await build(process, stack)
        stack.push_async_callback(server.stop, 0)
        channel = create_channel(f"127.0.0.1:{server.port}")
        yield Running(await stack.enter_async_context(channel), snapshots, server.port)


class Strangers(Peers):
    """Takes every caller for one from another machine, whose word on provenance is not taken."""

    def trusts(self, context: object) -> bool:  # noqa: ARG002 # the method that it replaces has it
        return False


class FromElsewhere(Strangers):
    """Takes every caller's connection for an unencrypted one from another machine."""

    def check_keys(self, configuration: Any, provenance: Any, context: Any) -> None:  # noqa: ARG002 # the method that it replaces has it
        super().check_keys(configuration, provenance, _Elsewhere())  # type: ignore[arg-type] # all that is read


class _Elsewhere:
    def peer(self) -> str:
        return "ipv4:192.0.2.1:40000"


def caught(error: grpc.aio.AioRpcError) -> CascadaError:
    """The error as the service before would rebuild it."""
    return from_status(error, "tested")


def hops_of(error: grpc.aio.AioRpcError) -> list[configuration_trace_pb2.HopReport]:
    """The reports that an error carries."""
    return [hop for hop in caught(error).hops if isinstance(hop, configuration_trace_pb2.HopReport)]


def all_of(error: grpc.aio.AioRpcError) -> str:
    """Everything that a caller can see of an error."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # an aio error has what it reads
    return f"{error!r} {error.debug_error_string()} {error.trailing_metadata()!r} {status!r}"
