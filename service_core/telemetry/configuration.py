"""The configuration as operators see it: which one is in force, how old it is."""

import time
from collections.abc import Iterator

from config_core.snapshot import Snapshots
from service_core.telemetry.live import Labelled, LiveGauges


def show_configuration(live: LiveGauges, snapshots: Snapshots) -> None:
    """Add the gauges of the snapshot in force."""

    def version() -> Iterator[Labelled]:
        yield (snapshots.current.version,), 1

    def age() -> Iterator[Labelled]:
        yield (), time.monotonic() - snapshots.since

    def refused() -> Iterator[Labelled]:
        yield (), float(snapshots.is_refused)

    live.add(
        "cascada_configuration_info",
        "The version of the configuration in force, always 1.",
        ("version",),
        version,
    )
    live.add(
        "cascada_configuration_age_seconds",
        "Time since the configuration in force was taken over.",
        (),
        age,
    )
    live.add(
        "cascada_configuration_refused",
        "1 while the configuration file is one that was refused, and the one before it serves.",
        (),
        refused,
    )
