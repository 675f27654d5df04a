import importlib
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.__main__ import COMMANDS, Command, build

HEAVY = ("grpc", "google.protobuf", "pydantic", "openai", "mistralai", "groq", "xllamacpp", "apsw")


def test_the_list_of_commands_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from cli.__main__ import build\n"
        "try:\n"
        "    build(['--help'])(['--help'])\n"
        "except SystemExit:\n"
        f"    print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "LOADED []" in done.stdout
    assert all(command.split()[0] in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help_json_and_exit_codes(path: str) -> None:
    arguments = [*path.split(), "--help"]
    result = CliRunner().invoke(build(arguments), arguments)
    assert result.exit_code == 0, result.output
    assert "--json" in result.output
    assert "Exit codes: 0 done" in result.output


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_table_of_commands_leads_to_functions(command: Command) -> None:
    function = getattr(importlib.import_module(command.module), command.function)
    assert function.__doc__


@pytest.mark.parametrize("arguments", [["nonsense"], ["ask"], ["ask", "x", "--timeout", "0"]])
def test_wrong_usage_has_exit_code_two(arguments: list[str]) -> None:
    assert CliRunner().invoke(build(arguments), arguments).exit_code == 2
