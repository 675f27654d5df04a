"""What the services of one process share, and how they start."""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import grpc
import structlog
from cascada.config.v1 import configuration_service_pb2_grpc

from config_core.errors import ConfigurationFileError
from config_core.model_configuration import ConnectionKind
from config_core.secrets import LocalSecrets
from config_core.settings import Settings
from config_core.snapshot import Snapshot, Snapshots
from config_core.sources import environment
from service_core.admission import Admission
from service_core.circuit import Circuits
from service_core.client import NextService
from service_core.configuration_servicer import ConfigurationServicer, Pinned
from service_core.identity import Guard, startup
from service_core.interceptors import (
    AuditInterceptor,
    CeilingInterceptor,
    DeadlineInterceptor,
    ErrorInterceptor,
    IdentityInterceptor,
    LimitsInterceptor,
    LoadInterceptor,
    TelemetryInterceptor,
)
from service_core.limits import Limiter, open_limits
from service_core.outgoing import Outgoing
from service_core.redaction import scrub
from service_core.request_context import Peers
from service_core.server import GrpcServer
from service_core.telemetry import Labelled, Metrics, start_metrics_port
from service_core.telemetry.configuration import show_configuration
from service_core.telemetry.opening import Exports, open_exports
from service_core.telemetry.spans import Clean, Spans
from service_core.tls import ServerTls
from service_core.trace import Tracer
from service_core.watch import Watch

_log = structlog.stdlib.get_logger(__name__)

_NOTHING: Mapping[str, str] = MappingProxyType({})

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
    own: Mapping[str, GrpcServer] = field(default_factory=dict)
    """Its own servers by their targets: calls to them stay inside."""
    watch: Watch = field(default_factory=Watch)
    """The files that are read again as it runs."""
    is_worker: bool = False
    """Whether other processes answer on the same ports."""
    metrics_port: int | None = None
    """Where its metrics are served; None where they are not."""
    exports: Exports | None = None
    """What goes to a collector; None without one."""

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
        admission = Admission.of(service, self.settings, self.metrics.load)
        admission.show(self.metrics.live)
        return GrpcServer(
            self.settings.host,
            port,
            interceptors=(
                ErrorInterceptor(self.tracer.of_error),
                LoadInterceptor(admission, self.guard.own_token),
                TelemetryInterceptor(self.metrics, service, self.spans(service)),
                AuditInterceptor(
                    service,
                    fingerprint_key=self.settings.fingerprint_key,
                    content=self.settings.audit_content,
                ),
                DeadlineInterceptor(),
                IdentityInterceptor(self.guard),
                LimitsInterceptor(self.snapshots, self.limiter),
                CeilingInterceptor(self.snapshots),
            ),
            tls=None if self.tls is None else self.tls.credentials(),
            socket=None if self.sockets is None else self.sockets / f"{service}.sock",
            shared=self.is_worker,
        )

    def spans(self, service: str) -> Spans | None:
        """What makes a service's spans; None where nobody collects any."""
        return None if self.exports is None else self.exports.spans(service)

    def channel(self, target: str) -> grpc.aio.Channel:
        """A channel to another service; the owner closes it."""
        if target in self.own:
            return self.own[target].channel(self.guard.own_token)
        return self.outgoing.channel(target)

    def next_service(self, name: str, target: str) -> NextService:
        """What the client of another service needs to know of it."""
        if target in self.own:
            return NextService(name, target, allow_insecure=True)  # keys do not leave the process
        return replace(self.outgoing.next_service(name, target), away=self.metrics.load.away)

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
    settings: Settings,
    snapshots: Snapshots,
    stack: AsyncExitStack,
    *,
    several: bool = False,
    is_worker: bool = False,
    environ: Mapping[str, str] = _NOTHING,
    clean: Clean = scrub,
) -> Process:
    """Start what the services share: the watches over files, the metrics' port, the exports.

    `environ` says whether there is a collector, which is told whether `several` services run here;
    `clean` takes secrets out of what goes there. A worker's metrics are for its supervisor alone.
    """
    process = replace(Process.of(settings, snapshots), is_worker=is_worker)
    show_configuration(process.metrics.live, snapshots)
    process.metrics.live.add("cascada_tasks", "Tasks of the event loop.", (), _count_tasks())
    exports = await open_exports(environ, process.metrics, clean, stack, several=several)
    process = replace(process, exports=exports)
    stack.push_async_callback(process.guard.aclose)
    stack.push_async_callback(process.limiter.aclose)
    watch = process.watch
    process.outgoing.keep_current(watch)
    if process.tls is not None:
        watch.add(process.tls.paths, process.tls.reload)
    for name, run_watch in (("configuration-watch", snapshots.watch), ("file-watch", watch.run)):
        stack.push_async_callback(_cancelled, asyncio.create_task(run_watch(), name=name))
    place = ("127.0.0.1", 0) if is_worker else (settings.host, settings.metrics_port)
    port = start_metrics_port(process.metrics.registry, *place)
    if port is None:
        return process
    stack.push_async_callback(port.close)
    return replace(process, metrics_port=port.port)


def _count_tasks() -> Callable[[], Iterable[Labelled]]:
    loop = asyncio.get_running_loop()  # a thread asks, which has none
    return lambda: [((), len(asyncio.all_tasks(loop)))]


def _report_change(snapshot: Snapshot) -> None:
    _log.info("configuration changed", version=snapshot.version)


def _report_refusal(error: ConfigurationFileError) -> None:
    _log.error("configuration refused, the last good one stays in force", problem=str(error))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
