"""What the services of one process share, and how they start."""

import asyncio
import os
import sys
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import structlog
from cascada.config.v1 import configuration_service_pb2_grpc

from config_core.errors import ConfigurationFileError
from config_core.known_secrets import KnownSecrets
from config_core.model_configuration import ConnectionKind
from config_core.secrets import LocalSecrets
from config_core.settings import Settings, unknown_variables
from config_core.snapshot import Snapshot, Snapshots
from config_core.sources import environment
from service_core import lifecycle
from service_core.circuit import Circuits
from service_core.configuration_servicer import ConfigurationServicer, Pinned
from service_core.interceptors import ErrorInterceptor, TelemetryInterceptor
from service_core.logs import configure_logs
from service_core.request_context import Peers
from service_core.server import BindError, GrpcServer
from service_core.telemetry import Metrics, start_metrics_port
from service_core.trace import Tracer

_log = structlog.stdlib.get_logger(__name__)

DROPPED_VARIABLES = ("MISTRAL_SDK_TELEMETRY",)
"""What an entry point takes out of the environment: it would export prompts."""


CONFIGURATION_SERVICE = "cascada.config.v1.ConfigurationService"


@dataclass(frozen=True, slots=True)
class Process:
    """One process's shared parts."""

    settings: Settings
    snapshots: Snapshots
    metrics: Metrics
    tracer: Tracer
    peers: Peers

    def server(self, service: str, port: int) -> GrpcServer:
        """A server of this process, with the interceptors that each of ours has."""
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (
            ErrorInterceptor(self.tracer.of_error),
            TelemetryInterceptor(self.metrics, service),
        )
        return GrpcServer(self.settings.host, port, interceptors=interceptors)

    def add_configuration(
        self,
        server: GrpcServer,
        kinds: Sequence[ConnectionKind],
        *,
        calls: Collection[ConnectionKind] = (),
        pinned: Pinned | None = None,
        circuits: Circuits | None = None,
    ) -> None:
        """Add ConfigurationService over this process's layers; see ConfigurationServicer."""
        servicer = ConfigurationServicer(
            self.snapshots,
            self.peers,
            kinds,
            calls=calls,
            pinned=pinned,
            circuits=circuits,
            fingerprint_key=self.settings.fingerprint_key,
        )
        add = configuration_service_pb2_grpc.add_ConfigurationServiceServicer_to_server
        server.add(CONFIGURATION_SERVICE, add, servicer)


Build = Callable[[Process, AsyncExitStack], Awaitable[GrpcServer]]
"""A service's `app.build`: gives its started server; what it holds is closed with the stack."""


def configure(environ: Mapping[str, str]) -> tuple[Settings, Snapshots]:
    """Read the environment and the configuration file; raises ConfigurationFileError."""
    settings = Settings.read(environ)
    snapshots = Snapshots(
        settings.config_file,
        environment.read(environ),
        LocalSecrets(environ),
        on_change=_report_change,
        on_refusal=_report_refusal,
    )
    return settings, snapshots


async def open_process(settings: Settings, snapshots: Snapshots, stack: AsyncExitStack) -> Process:
    """Start what the services share: the watch over the file and the metrics' port."""
    watch = asyncio.create_task(snapshots.watch(), name="configuration-watch")
    stack.push_async_callback(_cancelled, watch)
    metrics = Metrics()
    port = start_metrics_port(metrics.registry, settings.host, settings.metrics_port)
    if port is not None:
        stack.push_async_callback(port.close)
    return Process(
        settings=settings,
        snapshots=snapshots,
        metrics=metrics,
        tracer=Tracer(settings.fingerprint_key),
        peers=Peers(allow_insecure=settings.allow_insecure),
    )


def run(builds: Sequence[Build], environ: MutableMapping[str, str] = os.environ) -> None:
    """Serve until a signal; a service comes after those that it depends on.

    Raises ConfigurationFileError and BindError, whose messages are for the operator.
    """
    for name in DROPPED_VARIABLES:
        environ.pop(name, None)
    settings, snapshots = configure(environ)
    known = KnownSecrets(settings.fingerprint_key)
    configure_logs(settings.log_level, secrets=lambda: known.of(snapshots.current))
    for name in unknown_variables(environ):
        _log.warning("unknown variable", variable=name)

    async def start(stack: AsyncExitStack) -> Sequence[GrpcServer]:
        process = await open_process(settings, snapshots, stack)
        servers = [await build(process, stack) for build in builds]
        return servers[::-1]

    lifecycle.run(start, grace=settings.grace_seconds)


def main(build: Build) -> None:
    """Run one service alone, as `python -m` does; what is wrong is one sentence and exit code 1."""
    try:
        run([build])
    except (BindError, ConfigurationFileError) as error:
        sys.exit(str(error))


def _report_change(snapshot: Snapshot) -> None:
    _log.info("configuration changed", version=snapshot.version)


def _report_refusal(error: ConfigurationFileError) -> None:
    _log.error("configuration refused, the last good one stays in force", problem=str(error))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
