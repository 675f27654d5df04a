"""What measurements write into the documentation: tables, each between marks of its own.

No figure of a run is written by hand: the page holds a line `<!-- name -->` and a line
`<!-- end of name -->`, and the run puts what stands between them.
"""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

DOCS = Path(__file__).resolve().parents[1] / "docs"
PERFORMANCE = DOCS / "performance.md"
RETRIEVAL = DOCS / "retrieval.md"


def publish(page: Path, name: str, *tables: Table) -> None:
    """Print the tables of a run, and write them into the page's section of that name."""
    console = Console()
    for table in tables:
        console.print(table)
    parts = [f"Written by `make bench ARGS={name}` on {stamp()}.\n", *map(markdown, tables)]
    _replace(page, name, "\n".join(parts))


def stamp() -> str:
    """The day, and the machine that the run is made on."""
    cores, python = os.cpu_count(), platform.python_version()
    return f"{datetime.now(UTC).date()}: {cores} cores, {platform.machine()}, Python {python}"


def markdown(table: Table) -> str:
    """A table for a page, below its title."""
    lines = [f"{table.title}:", ""] if table.title else []
    lines.append(_line(str(column.header) for column in table.columns))
    lines.append(_line("--:" if c.justify == "right" else "---" for c in table.columns))
    cells = zip(*(column.cells for column in table.columns), strict=True)
    lines += [_line(map(str, row)) for row in cells]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _replace(page: Path, name: str, text: str) -> None:
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, begins, rest = page.read_text("utf-8").partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(f"{page.name} has to have the lines {begin.strip()} and {end.strip()}")
    page.write_text(f"{before}{begin}{text}{end}{after}", "utf-8")
