"""Serving as a process of its own: environment, log, signals, and the end."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import MutableMapping, Sequence
from contextlib import AsyncExitStack

import structlog

from config_core.errors import ConfigurationFileError
from config_core.known_secrets import KnownSecrets
from config_core.settings import Settings, unknown_variables
from service_core import lifecycle
from service_core.audit import open_audit
from service_core.channel import is_loopback_host
from service_core.logs import configure_logs
from service_core.process import DROPPED_VARIABLES, Build, Process, configure, open_process
from service_core.redaction import scrub
from service_core.server import BindError, GrpcServer
from service_core.telemetry.otlp_settings import header_secrets
from service_core.worker import Worker

DEFAULT_SETTLE_SECONDS = 5.0
GC_THRESHOLDS = 10_000, 20, 20
"""A request makes some hundred objects, nearly all of which go without the collector."""

_log = structlog.stdlib.get_logger(__name__)


def run(
    builds: Sequence[Build],
    environ: MutableMapping[str, str] = os.environ,
    worker: Worker | None = None,
) -> None:
    """Serve until a signal; a service comes after those that it depends on.

    Raises ConfigurationFileError and BindError, whose messages are for the operator.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read again
    for name in DROPPED_VARIABLES:
        environ.pop(name, None)
    settings, snapshots = configure(environ)
    known = KnownSecrets(
        settings.fingerprint_key,
        settings.service_token,
        settings.token,
        settings.limits_url,
        *header_secrets(environ),
    )
    configure_logs(settings.log_level, secrets=lambda: known.of(snapshots.current))
    for name in unknown_variables(environ) if worker is None else ():
        _log.warning("unknown variable", variable=name)
    process: Process | None = None

    async def start(stack: AsyncExitStack) -> Sequence[GrpcServer]:
        nonlocal process
        stack.callback(open_audit(settings.audit_file))
        process = await open_process(
            settings,
            snapshots,
            stack,
            several=len(builds) > 1,
            is_worker=worker is not None,
            environ=environ,
            clean=lambda text: scrub(text, known.of(snapshots.current)),
        )
        if worker is not None:
            worker.watch()
            stack.callback(worker.unwatch)
        servers = [await build(process, stack) for build in builds]
        _spare_the_collector()
        if worker is not None:
            telling = asyncio.create_task(worker.serving(servers, process.metrics_port))
            stack.push_async_callback(_cancelled, telling)
        return servers[::-1]

    async def reload() -> None:
        if snapshots.reload():
            _log.info("configuration read again", version=snapshots.current.version)
        if process is not None:
            await process.watch.reload()

    lifecycle.run(start, grace=settings.grace_seconds, settle=settle_of(settings), reload=reload)


def main(build: Build) -> None:
    """Run one service alone, as `python -m` does; what is wrong is one sentence and exit code 1."""
    try:
        run([build])
    except (BindError, ConfigurationFileError) as error:
        sys.exit(str(error))


def settle_of(settings: Settings) -> float:
    """How long to answer on as NOT_SERVING: no load balancer stands before a loopback address."""
    if settings.settle_seconds is not None:
        return settings.settle_seconds
    return 0.0 if is_loopback_host(settings.host) else DEFAULT_SETTLE_SECONDS


def _spare_the_collector() -> None:
    """Have the garbage collector pass over what stays: it would hold every call up meanwhile."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
