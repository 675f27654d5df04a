"""`cascada serve --workers`: several processes on the same ports, and one that looks after them."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from cli import services
from cli.exits import CommandError, ExitCode
from cli.output import Output
from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from config_core.settings import Settings, unknown_variables
from service_core.entry import settle_of
from service_core.logs import configure_logs
from service_core.process import configure
from service_core.reserved_ports import reserved
from service_core.telemetry import start_metrics_port
from service_core.worker_metrics import WorkerMetrics
from service_core.workers import Supervisor, WorkersError

_END_SECONDS = 10.0
"""What workers have beyond settling and grace, to close what they hold."""


def supervise(service: str, names: Sequence[str], output: Output) -> None:
    """Serve with as many processes as the environment says, until a signal.

    Args:
        service: What each worker serves, as the command line says it.
        names: The services that this is.
        output: Where it says where they listen, and when all of them serve.

    Raises:
        CommandError: The workers can't start, or one had to be killed.
        ConfigurationFileError: The configuration is wrong.
        BindError: Another program has a port.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are workers to pass it on to
    settings, _ = configure(os.environ)
    if settings.socket_dir is not None:
        why = "names one socket for each service, which workers can't share: leave it out"
        raise ConfigurationFileError(PLACE, [("CASCADA_SOCKET_DIR", why)])
    configure_logs(settings.log_level)
    for name in unknown_variables(os.environ):
        output.note(f"{name} is not a variable that Cascada reads: check its spelling.")
    fields = [f"{name.replace('-', '_')}_port" for name in names]
    with reserved(settings.host, [getattr(settings, field) for field in fields]) as ports:
        environ = {
            **os.environ,
            **{f"CASCADA_{f.upper()}": str(at) for f, at in zip(fields, ports, strict=True)},
        }
        places = dict(zip(names, ports, strict=True))
        command = [sys.executable, "-m", "cli", "serve", service]
        well = asyncio.run(_supervised(command, environ, settings, places, output))
    if not well:
        raise CommandError("A worker did not end well: the log says more.")


async def _supervised(
    command: Sequence[str],
    environ: Mapping[str, str],
    settings: Settings,
    places: Mapping[str, int],
    output: Output,
) -> bool:
    seconds = settle_of(settings) + settings.grace_seconds + _END_SECONDS
    supervisor = Supervisor(command, environ, settings.workers, seconds=seconds)
    registry = CollectorRegistry()
    registry.register(WorkerMetrics(supervisor.metrics_ports, lambda: supervisor.replaced))
    for name, port in places.items():
        output.note(f"{name} listens on {settings.host}, port {port}, {settings.workers} workers")
    announcing = asyncio.create_task(_announce(supervisor, settings, places, output))
    metrics = start_metrics_port(registry, settings.host, settings.metrics_port)
    try:
        return await supervisor.run()
    except WorkersError as error:
        raise CommandError(str(error), ExitCode(error.exit_code)) from None
    finally:
        announcing.cancel()
        if metrics is not None:
            await metrics.close()


async def _announce(
    supervisor: Supervisor, settings: Settings, places: Mapping[str, int], output: Output
) -> None:
    await supervisor.serving()
    output.note("ready")
    if output.as_json:
        at = {name: services.address_of(settings.host, port) for name, port in places.items()}
        output.document({"ready": True, "services": at})
