"""`cascada doctor`: what is configured, reachable and missing, without showing a secret."""

import os

from rich import box
from rich.table import Table
from rich.text import Text

from cli import options
from cli.checks import Finding, State
from cli.diagnosis import diagnose
from cli.exits import ExitCode
from cli.output import Output, printable
from cli.running import run

_STYLES = {State.OK: "green", State.NOTE: "default", State.MISSING: "yellow", State.BROKEN: "red"}


def doctor(*, as_json: options.Json = False) -> None:
    """Check settings, configuration file, providers, local models, store and services.

    Shows no secret and changes nothing. Exit code 1 if something that is configured is broken.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        with output.working("Checking…"):
            findings = await diagnose(os.environ)
        healthy = all(finding.state is not State.BROKEN for finding in findings)
        if as_json:
            output.document(
                {"healthy": healthy, "checks": [finding.document for finding in findings]}
            )
        else:
            _show(findings, output, healthy=healthy)
        return ExitCode.OK if healthy else ExitCode.FAILED

    run(output, work())


def _show(findings: list[Finding], output: Output, *, healthy: bool) -> None:
    table = Table("Area", "What", "State", "Detail", box=box.SIMPLE_HEAD)
    table.show_edge = table.pad_edge = False
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    table.columns[1].overflow = table.columns[3].overflow = "fold"
    area = ""
    for finding in findings:
        if area and finding.area != area:
            table.add_section()
        table.add_row(
            Text(finding.area if finding.area != area else ""),
            Text(printable(finding.what)),
            Text(finding.state, style=_STYLES[finding.state]),
            Text(printable(finding.detail)),
        )
        area = finding.area
    output.show(table)
    output.line("Nothing that is configured is broken." if healthy else "Something is broken.")
