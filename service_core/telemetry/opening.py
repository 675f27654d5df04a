"""Opens the exports of a process, if its environment names a collector."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Protocol

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from service_core.telemetry.metrics import Metrics
from service_core.telemetry.otlp_settings import OtlpSettings
from service_core.telemetry.spans import Clean, Spans


class Exports(Protocol):
    """What is exported of a process."""

    def spans(self, service: str) -> Spans | None:
        """What makes a service's spans; `None` where none are exported."""
        ...

    async def aclose(self) -> None:
        """Export what is left."""
        ...


async def open_exports(
    environ: Mapping[str, str],
    metrics: Metrics,
    clean: Clean,
    stack: AsyncExitStack,
    *,
    several: bool,
) -> Exports | None:
    """The exports, closed with the stack; `None` without a collector.

    Raises:
        ConfigurationFileError: What the environment says of the collector is wrong.
    """
    settings = OtlpSettings.read(environ)
    if settings is None:
        return None
    exports = await asyncio.to_thread(_open, settings, metrics, clean, several=several)
    stack.push_async_callback(exports.aclose)
    return exports


def _open(settings: OtlpSettings, metrics: Metrics, clean: Clean, *, several: bool) -> Exports:
    from service_core.telemetry.exporting import Exporting  # noqa: PLC0415 # the SDK takes memory

    try:
        return Exporting(settings, metrics, clean, several=several)
    except Exception as error:  # noqa: BLE001 # the SDK says in any way what it does not take
        wrong = f"are not taken by OpenTelemetry: {clean(str(error)) or type(error).__name__}"
        raise ConfigurationFileError(PLACE, [("OTEL_* variables", wrong)]) from None
