"""`make bench-quick`: what Cascada's requests cost beside the floors, in one go, without peers."""

import tempfile
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.cost import works
from bench.cost.figures import Figures, measure

COUNT = 1500
STREAMS = 150
AT_ONCE = 16


def main() -> None:
    """Measure everything and print the tables."""
    figures = uvloop.run(_measured())
    console = Console()
    table = Table(title=f"CPU milliseconds a request, {AT_ONCE} at once")
    for column in ("work", "CPU ms", "requests/s", "p50 ms", "p99 ms", "RSS MB"):
        table.add_column(column, justify="left" if column == "work" else "right")
    for name, each in figures.items():
        table.add_row(
            name,
            f"{each.cpu_milliseconds:.3f}",
            f"{each.requests_per_second:.0f}",
            f"{each.p50_milliseconds:.1f}",
            f"{each.p99_milliseconds:.1f}",
            f"{each.resident_megabytes:.0f}",
        )
    console.print(table)
    ratios = Table(title="ratios")
    for column in ("work", "ratio", "target"):
        ratios.add_column(column, justify="left" if column == "work" else "right")
    for name, ratio, target in _ratios(figures):
        ratios.add_row(name, f"{ratio:.2f}", f"{target:.2f}")
    console.print(ratios)


async def _measured() -> dict[str, Figures]:
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with works.upstream() as provider:
            await works.record(folder, provider)
            plan: list[tuple[str, works.Work, int]] = [
                ("echo, 1 hop", works.echo(folder, 1), COUNT),
                ("echo, 2 hops", works.echo(folder, 2), COUNT),
                ("echo, 3 hops", works.echo(folder, 3), COUNT),
                ("echo and POST", works.bare_post(folder, provider), COUNT),
                ("stream echo, 1 hop", works.echo(folder, 1, stream=True), STREAMS),
                ("stream echo, 2 hops", works.echo(folder, 2, stream=True), STREAMS),
                ("echo and SSE", works.bare_post(folder, provider, stream=True), STREAMS),
                ("query", works.query_alone(folder, provider), COUNT),
                ("agent, query", works.agent_and_query(folder, provider), COUNT),
                (
                    "agent, query, stream",
                    works.agent_and_query(folder, provider, stream=True),
                    STREAMS,
                ),
                ("cascade", works.cascade(folder / "three", provider), COUNT),
                (
                    "cascade, serve all",
                    works.cascade(folder / "one", provider, together=True),
                    COUNT,
                ),
            ]
            for place in ("three", "one"):
                (folder / place).mkdir()
            for title, work, count in plan:
                async with work as ready:
                    figures[title] = await measure(
                        ready.request, ready.pids, count=count, at_once=AT_ONCE, warm=count // 5
                    )
    return figures


def _ratios(figures: dict[str, Figures]) -> list[tuple[str, float, float]]:
    cpu = {name: each.cpu_milliseconds for name, each in figures.items()}
    post = cpu["echo and POST"] - cpu["echo, 1 hop"]
    read = cpu["echo and SSE"] - cpu["echo, 1 hop"]
    return [
        ("agent, query / (2 hops + POST)", cpu["agent, query"] / (cpu["echo, 2 hops"] + post), 1.6),
        ("cascade / (3 hops + 2 POSTs)", cpu["cascade"] / (cpu["echo, 3 hops"] + 2 * post), 1.6),
        ("serve all / cascade", cpu["cascade, serve all"] / cpu["cascade"], 0.6),
        (
            "stream / (2 hops + SSE)",
            cpu["agent, query, stream"] / (cpu["stream echo, 2 hops"] + read),
            1.5,
        ),
    ]
