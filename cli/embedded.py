"""The embedded stack: all three services in the command's own process, for its duration."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from cli import services
from cli.output import Output
from config_core.settings import unknown_variables
from service_core.logs import configure_logs
from service_core.process import DROPPED_VARIABLES, Process, configure
from service_core.request_context import Peers
from service_core.server import GrpcServer
from service_core.telemetry import Metrics
from service_core.trace import Tracer

# Nobody else talks to these services: loopback, free ports, and each other.
_OWN = {
    "CASCADA_HOST": "127.0.0.1",
    "CASCADA_AGENT_EXECUTION_PORT": "0",
    "CASCADA_QUERY_PORT": "0",
    "CASCADA_EMBEDDING_PORT": "0",
    "CASCADA_QUERY_TARGET": "",
    "CASCADA_EMBEDDING_TARGET": "",
}

_GRACE_SECONDS = 1.0


@asynccontextmanager
async def embedded_services(
    environ: Mapping[str, str], output: Output
) -> AsyncIterator[Mapping[str, str]]:
    """Gives each service's target; the services end with the block.

    They have the environment's settings and data folder. Raises ConfigurationFileError.
    """
    for name in DROPPED_VARIABLES:
        os.environ.pop(name, None)
    configure_logs(environ.get("CASCADA_LOG_LEVEL") or "error")
    settings, snapshots = configure({**environ, **_OWN})
    for name in unknown_variables(environ):
        output.note(f"{name} is not a variable that Cascada reads: check its spelling.")
    servers = dict[str, GrpcServer]()
    async with AsyncExitStack() as stack:
        process = Process(
            settings=settings,
            snapshots=snapshots,
            metrics=Metrics(),
            tracer=Tracer(settings.fingerprint_key),
            peers=Peers(allow_insecure=settings.allow_insecure),
        )
        try:
            for build in services.builds(services.NAMES, servers.__setitem__):
                await build(process, stack)
            yield {name: services.address(server) for name, server in servers.items()}
        finally:
            for server in reversed(servers.values()):
                await server.stop(_GRACE_SECONDS)
