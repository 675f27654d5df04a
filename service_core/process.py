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
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

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
from service_core.audit import open_audit
from service_core.circuit import Circuits
from service_core.client import NextService
from service_core.configuration_servicer import ConfigurationServicer, Pinned
from service_core.identity import Guard, startup
from service_core.interceptors import (
    AuditInterceptor,
    CeilingInterceptor,
    ErrorInterceptor,
    IdentityInterceptor,
    LimitsInterceptor,
    TelemetryInterceptor,
)
from service_core.limits import Limiter, open_limits
from service_core.logs import configure_logs
from service_core.outgoing import Outgoing, own_channel
from service_core.request_context import Peers
from service_core.server import BindError, GrpcServer
from service_core.telemetry import Metrics, start_metrics_port
from service_core.tls import ServerTls
from service_core.trace import Tracer
from service_core.watch import Watch

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
    guard: Guard
    limiter: Limiter
    outgoing: Outgoing
    tls: ServerTls | None
    sockets: Path | None
    """Folder of the unix sockets of its servers."""
    own_targets: frozenset[str] = frozenset()
    """Where its own servers listen: calls to them stay inside, in plain text."""

    @classmethod
    def of(cls, settings: Settings, snapshots: Snapshots) -> "Process":
        """The parts as the settings say; nothing runs yet.

        Raises:
            ConfigurationFileError: Identity or TLS is missing or wrong, or a library is.
        """
        startup.check(settings, snapshots.current.document.identity)
        tls = ServerTls.of(settings)
        return cls(
            settings=settings,
            snapshots=snapshots,
            metrics=Metrics(),
            tracer=Tracer(settings.fingerprint_key),
            peers=Peers(encrypted=tls is not None, allow_insecure=settings.allow_insecure),
            guard=Guard(snapshots, required=startup.is_exposed(settings)),
            limiter=Limiter(open_limits(settings)),
            outgoing=Outgoing.of_service(settings),
            tls=tls,
            sockets=settings.socket_dir,
        )

    def server(self, service: str, port: int) -> GrpcServer:
        """A server of this process, with the interceptors that each of ours has."""
        return GrpcServer(
            self.settings.host,
            port,
            interceptors=(
                ErrorInterceptor(self.tracer.of_error),
                TelemetryInterceptor(self.metrics, service),
                AuditInterceptor(
                    service,
                    fingerprint_key=self.settings.fingerprint_key,
                    content=self.settings.audit_content,
                ),
                IdentityInterceptor(self.guard),
                LimitsInterceptor(self.snapshots, self.limiter),
                CeilingInterceptor(self.snapshots),
            ),
            tls=None if self.tls is None else self.tls.credentials(),
            socket=None if self.sockets is None else self.sockets / f"{service}.sock",
        )

    def channel(self, target: str) -> grpc.aio.Channel:
        """A channel to another service; the owner closes it."""
        if target in self.own_targets:
            return own_channel(target, self.guard.own_token)
        return self.outgoing.channel(target)

    def next_service(self, name: str, target: str) -> NextService:
        """What the client of another service needs to know of it."""
        if target in self.own_targets:
            return NextService(name, target)
        return self.outgoing.next_service(name, target)

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


async def open_process(
    settings: Settings, snapshots: Snapshots, stack: AsyncExitStack, *, several: bool = False
) -> Process:
    """Start what the services share: the watches over files and the metrics' port.

    With TLS, `several` services of one process reach one another over unix sockets: the certificate
    need not be one for this machine's own address.
    """
    process = Process.of(settings, snapshots)
    if several and process.tls is not None and process.sockets is None:
        folder = stack.enter_context(TemporaryDirectory(prefix="cascada-"))
        process = replace(process, sockets=Path(folder))
    stack.push_async_callback(process.guard.aclose)
    stack.push_async_callback(process.limiter.aclose)
    watch = Watch()
    process.outgoing.keep_current(watch)
    if process.tls is not None:
        watch.add(process.tls.paths, process.tls.reload)
    for name, run_watch in (("configuration-watch", snapshots.watch), ("file-watch", watch.run)):
        stack.push_async_callback(_cancelled, asyncio.create_task(run_watch(), name=name))
    port = start_metrics_port(process.metrics.registry, settings.host, settings.metrics_port)
    if port is not None:
        stack.push_async_callback(port.close)
    return process


def run(builds: Sequence[Build], environ: MutableMapping[str, str] = os.environ) -> None:
    """Serve until a signal; a service comes after those that it depends on.

    Raises ConfigurationFileError and BindError, whose messages are for the operator.
    """
    for name in DROPPED_VARIABLES:
        environ.pop(name, None)
    settings, snapshots = configure(environ)
    known = KnownSecrets(
        settings.fingerprint_key, settings.service_token, settings.token, settings.limits_url
    )
    configure_logs(settings.log_level, secrets=lambda: known.of(snapshots.current))
    for name in unknown_variables(environ):
        _log.warning("unknown variable", variable=name)

    async def start(stack: AsyncExitStack) -> Sequence[GrpcServer]:
        stack.callback(open_audit(settings.audit_file))
        process = await open_process(settings, snapshots, stack, several=len(builds) > 1)
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
