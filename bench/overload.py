"""What becomes of the services at twice the load that the machine can take.

All three services in one process, a canned provider, and the callers share the machine. The rates
are multiples of what callers who wait for their answers get done.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles

import uvloop
from rich.table import Table

from bench.mixed_load import DOCUMENTS, SHARES, TOKENS, UPSTREAM_SECONDS, Outcomes, mixed_load
from bench.pages import PERFORMANCE, publish

CALLERS = 24
WARM_SECONDS, PEAK_SECONDS, HALF_SECONDS, OVERLOAD_SECONDS = 5.0, 15.0, 30.0, 60.0

_PEAK, _HALF, _TWICE = f"{CALLERS} callers in turn", "half", "twice"


def main() -> None:
    """Measure, print the tables and write them into the page."""
    runs = uvloop.run(_measured())
    publish(PERFORMANCE, "overload", _table(runs), _against_targets(runs))


async def _measured() -> dict[str, Outcomes]:
    with tempfile.TemporaryDirectory() as name:
        async with mixed_load(Path(name), {"CASCADA_LOG_LEVEL": "warning"}) as load:
            await load.in_turn(CALLERS, WARM_SECONDS)
            peak = await load.in_turn(CALLERS, PEAK_SECONDS)
            capacity = peak.answered / peak.seconds
            return {
                _PEAK: peak,
                _HALF: await load.at_rate(capacity / 2, HALF_SECONDS),
                "once": await load.at_rate(capacity, HALF_SECONDS),
                _TWICE: await load.at_rate(capacity * 2, OVERLOAD_SECONDS),
                "half again": await load.at_rate(capacity / 2, HALF_SECONDS),
            }


def _table(runs: Mapping[str, Outcomes]) -> Table:
    shares = ", ".join(f"{share} % {kind}" for kind, share in SHARES.items())
    table = Table(
        title=f"Mixed load ({shares}; streams of {TOKENS} pieces, {DOCUMENTS} documents an "
        f"indexing, provider answers after {UPSTREAM_SECONDS * 1000:.0f} ms)"
    )
    table.add_column("load")
    for column in ("answered/s", "refused/s", "other errors"):
        table.add_column(column, justify="right")
    for kind in SHARES:
        table.add_column(f"{kind} p50, p99 ms", justify="right")
    table.add_column("MB at most", justify="right")
    for name, run in runs.items():
        table.add_row(
            name,
            f"{run.answered / run.seconds:.1f}",
            f"{run.refused / run.seconds:.1f}",
            ", ".join(f"{count} {code}" for code, count in run.failed.items()) or "0",
            *(_cuts(run.latencies[kind]) for kind in SHARES),
            f"{run.most_resident / 2**20:.0f}",
        )
    return table


def _cuts(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "–"
    cuts = quantiles(seconds, n=100)
    return f"{cuts[49] * 1000:.0f}, {cuts[98] * 1000:.0f}"


def _against_targets(runs: Mapping[str, Outcomes]) -> Table:
    peak, half, twice = (runs[name] for name in (_PEAK, _HALF, _TWICE))
    table = Table("at twice the load")
    for column in ("measured", "target"):
        table.add_column(column, justify="right")
    kept = (twice.answered / twice.seconds) / (peak.answered / peak.seconds)
    table.add_row("answered, of what callers in turn get", f"{kept:.0%}", "at least 90 %")
    slower = _p99(twice) / _p99(half)
    table.add_row("p99 of an answer, over that at half the load", f"{slower:.1f}", "at most 3")
    return table


def _p99(run: Outcomes) -> float:
    return quantiles(run.latencies["answer"], n=100)[98]
