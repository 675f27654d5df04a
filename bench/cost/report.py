"""The report of a run: kept as JSON, shown as tables, written as Markdown with plots in SVG."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cost.figures import Figures

COLUMNS = ("CPU ms", "requests/s", "p50 ms", "p99 ms", "RSS MB")

_BAR_HEIGHT = 18
_LABEL_WIDTH = 260
_PLOT_WIDTH = 720


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure over what it is compared with, and what it should be at most."""

    name: str
    value: float
    target: float
    floor: float
    """The same for bare calls that do nothing of ours: whatever does the work comes out above."""


def cells(figures: Figures) -> list[str]:
    """One work's figures as they are shown."""
    return [
        f"{figures.cpu_milliseconds:.3f}",
        f"{figures.requests_per_second:.0f}",
        f"{figures.p50_milliseconds:.1f}",
        f"{figures.p99_milliseconds:.1f}",
        f"{figures.resident_megabytes:.0f}",
    ]


def show(title: str, figures: Mapping[str, Figures], ratios: Sequence[Ratio]) -> None:
    """Print both tables."""
    console = Console()
    table = Table("work", title=title)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for name, each in figures.items():
        table.add_row(name, *cells(each))
    console.print(table)
    table = Table("ratio of CPU", title="Ratios")
    for column in ("measured", "target", "bare calls"):
        table.add_column(column, justify="right")
    for ratio in ratios:
        values = (ratio.value, ratio.target, ratio.floor)
        table.add_row(ratio.name, *(f"{value:.3f}" for value in values))
    console.print(table)


def compare(figures: Mapping[str, Figures], saved: Path) -> None:
    """Print each work's CPU beside that of a run that was kept."""
    earlier = json.loads(saved.read_text("utf-8"))
    table = Table("work", title=f"CPU ms a request, beside {saved.name}")
    for column in ("now", "then", "now / then"):
        table.add_column(column, justify="right")
    for name, each in figures.items():
        if name in earlier:
            then = earlier[name]["cpu_milliseconds"]
            now = each.cpu_milliseconds
            table.add_row(name, f"{now:.3f}", f"{then:.3f}", f"{now / then:.2f}")
    Console().print(table)


def save(figures: Mapping[str, Figures], place: Path) -> None:
    """Keep a run, to compare a later one with."""
    kept = {name: asdict(each) for name, each in figures.items()}
    place.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def markdown(figures: Mapping[str, Figures]) -> str:
    """The figures as a Markdown table."""
    rows = ["| work | " + " | ".join(COLUMNS) + " |", "|---|" + "--:|" * len(COLUMNS)]
    rows += [f"| {name} | " + " | ".join(cells(each)) + " |" for name, each in figures.items()]
    return "\n".join(rows) + "\n"


def ratio_table(ratios: Sequence[Ratio]) -> str:
    """The ratios as a Markdown table."""
    rows = [
        "| ratio of CPU a request | measured | target | | bare calls |",
        "|---|--:|--:|---|--:|",
    ]
    rows += [
        f"| {each.name} | {each.value:.3f} | {each.target:.3f} |"
        f" {'met' if each.value <= each.target else 'not met'} | {each.floor:.3f} |"
        for each in ratios
    ]
    return "\n".join(rows) + "\n"


def bars(title: str, values: Mapping[str, float]) -> str:
    """A bar chart in SVG: a bar for each name, all from 0."""
    longest = max(values.values())
    height = (len(values) + 2) * (_BAR_HEIGHT + 6)
    width = _LABEL_WIDTH + _PLOT_WIDTH
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        "<style>text {font: 13px sans-serif}</style>",
        f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(values.items(), start=1):
        top = number * (_BAR_HEIGHT + 6) + 8
        long = max(1.0, value / longest * (_PLOT_WIDTH - 90))
        color = "#2563eb" if name.startswith("Cascada") else "#94a3b8"
        path = f"M{_LABEL_WIDTH} {top}h{long:.1f}v{_BAR_HEIGHT}h-{long:.1f}z"
        lines += [
            f'<text x="{_LABEL_WIDTH - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>',
            f'<path d="{path}" fill="{color}"/>',
            f'<text x="{_LABEL_WIDTH + long + 6:.1f}" y="{top + 13}">{value:.2f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
