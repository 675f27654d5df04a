"""`make bench-quick`: what Cascada's requests cost beside the floors, in one go, without peers.

The run is kept in `.bench/quick.json`, and shown beside the one that was kept there before.
"""

import tempfile
from pathlib import Path

import uvloop

from bench.cost import plan, report, works
from bench.cost.figures import Figures
from bench.peers.environments import FOLDER

AT_ONCE = 16
KEPT = FOLDER / "quick.json"


def main() -> None:
    """Measure and print the tables."""
    figures = uvloop.run(_measured())
    report.show(f"{AT_ONCE} at once", figures, plan.ratios(figures))
    if KEPT.is_file():
        report.compare(figures, KEPT)
    KEPT.parent.mkdir(exist_ok=True)
    report.save(figures, KEPT)


async def _measured() -> dict[str, Figures]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with works.upstream() as provider:
            await works.record(folder, provider)
            planned = [*plan.floors(folder, provider), *plan.ours(folder, provider)]
            return await plan.run(planned, AT_ONCE)
