"""The embedded stack: all three services in the command's own process, for its duration."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from cli import services
from cli.output import Output
from config_core.settings import unknown_variables
from service_core.logs import configure_logs
from service_core.process import DROPPED_VARIABLES, Process, configure
from service_core.server import GrpcServer

# Nobody else talks to these services: loopback, free ports, and each other.
_OWN = {
    "CASCADA_HOST": "127.0.0.1",
    "CASCADA_AGENT_EXECUTION_PORT": "0",
    "CASCADA_QUERY_PORT": "0",
    "CASCADA_EMBEDDING_PORT": "0",
    "CASCADA_QUERY_TARGET": "",
    "CASCADA_EMBEDDING_TARGET": "",
    "CASCADA_SOCKET_DIR": "",
    **dict.fromkeys(
        (
            "CASCADA_TLS",
            "CASCADA_TLS_CERT_FILE",
            "CASCADA_TLS_KEY_FILE",
            "CASCADA_TLS_CLIENT_CA_FILE",
            "CASCADA_TLS_CA_FILE",
            "CASCADA_TLS_CLIENT_CERT_FILE",
            "CASCADA_TLS_CLIENT_KEY_FILE",
            "CASCADA_SERVICE_TOKEN",
            "CASCADA_SERVICE_TOKEN_FILE",
        ),
        "",
    ),
}

_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """The services that run."""

    targets: Mapping[str, str]
    """Where each listens."""
    token: str = field(repr=False)
    """By which they know the command, where the configuration file has identity on."""


@asynccontextmanager
async def embedded_services(environ: Mapping[str, str], output: Output) -> AsyncIterator[Embedded]:
    """Gives what the command needs to call them; the services end with the block.

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
        process = Process.of(settings, snapshots)
        stack.push_async_callback(process.guard.aclose)
        stack.push_async_callback(process.limiter.aclose)
        try:
            for build in services.builds(services.NAMES, servers.__setitem__):
                await build(process, stack)
            targets = {name: services.address(server) for name, server in servers.items()}
            yield Embedded(targets, process.guard.own_token)
        finally:
            for server in reversed(servers.values()):
                await server.stop(_GRACE_SECONDS)
