"""What becomes of the services at twice the load that the machine can take.

All three services in one process, a canned provider, and the callers share the machine. The rates
are multiples of what callers who wait for their answers get done.
"""

import tempfile
from pathlib import Path
from statistics import quantiles

import uvloop
from rich.console import Console
from rich.table import Table

from bench.mixed_load import DOCUMENTS, SHARES, TOKENS, UPSTREAM_SECONDS, Outcomes, mixed_load

CALLERS = 24
WARM_SECONDS, PEAK_SECONDS, HALF_SECONDS, OVERLOAD_SECONDS = 5.0, 15.0, 30.0, 60.0


def main() -> None:
    """Measure and print the table."""
    Console().print(uvloop.run(_measured()))


async def _measured() -> Table:
    with tempfile.TemporaryDirectory() as name:
        async with mixed_load(Path(name), {"CASCADA_LOG_LEVEL": "warning"}) as load:
            await load.in_turn(CALLERS, WARM_SECONDS)
            peak = await load.in_turn(CALLERS, PEAK_SECONDS)
            capacity = peak.answered / peak.seconds
            runs = {
                f"{CALLERS} callers in turn": peak,
                "half": await load.at_rate(capacity / 2, HALF_SECONDS),
                "once": await load.at_rate(capacity, HALF_SECONDS),
                "twice": await load.at_rate(capacity * 2, OVERLOAD_SECONDS),
                "half again": await load.at_rate(capacity / 2, HALF_SECONDS),
            }
    return _table(runs)


def _table(runs: dict[str, Outcomes]) -> Table:
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
