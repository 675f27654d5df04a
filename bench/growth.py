"""How far a service's memory grows with 2,000 tenants and keys and 100,000 requests.

`make bench ARGS=growth` asks the query service alone, for another tenant with a key of its own at
each request; it takes some three minutes.
"""

import tempfile
from pathlib import Path

import uvloop
from rich.table import Table

from bench.cost import works
from bench.cost.figures import measure
from bench.cost.processes import resident_bytes
from bench.pages import PERFORMANCE, publish

TENANTS = 2000
REQUESTS = 100_000
STEPS = 5
_AT_ONCE = 32
_FIRST = 500


def main() -> None:
    """Measure, print the table and write it into the page."""
    table = Table(title=f"Memory of query, {TENANTS:,} tenants and keys", title_justify="left")
    for column in ("requests", "resident MB", "more than at first (target: 15)"):
        table.add_column(column, justify="right")
    sizes = uvloop.run(_measured())
    for requests, size in sizes.items():
        table.add_row(f"{requests:,}", f"{size:.1f}", f"{size - next(iter(sizes.values())):.1f}")
    publish(PERFORMANCE, "growth", table)


async def _measured() -> dict[int, float]:
    """Resident megabytes by the number of requests so far; the first ones are one tenant's."""
    with tempfile.TemporaryDirectory() as name:
        async with (
            works.upstream() as provider,
            works.query_of_tenants(Path(name), provider, TENANTS) as ready,
        ):

            async def first(_: int) -> object:
                return await ready.request(0)

            await measure(first, ready.pids, count=_FIRST, at_once=_AT_ONCE, warm=0)
            sizes = {0: resident_bytes(ready.pids) / 2**20}
            for step in range(1, STEPS + 1):
                count = REQUESTS // STEPS
                figures = await measure(
                    ready.request, ready.pids, count=count, at_once=_AT_ONCE, warm=0
                )
                sizes[step * count] = figures.resident_megabytes
            return sizes


if __name__ == "__main__":
    main()
