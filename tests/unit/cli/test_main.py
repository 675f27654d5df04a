import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from cli.__main__ import COMMANDS, Command, build, main
from cli.exits import ExitCode

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


def command(script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which $CASCADA is the command."""
    cascada = f"{sys.executable} -m cli"
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        ["/bin/sh", "-c", script],
        env={**os.environ, "PYTHONPATH": path, "CASCADA": cascada},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_closed_output_is_no_reason_to_fail() -> None:
    done = command("$CASCADA config schema >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_without_room_is_one_sentence() -> None:
    done = command("$CASCADA config schema >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: The output can't be written: No space left on device.\n"


def test_ctrl_c_while_a_command_is_loaded_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: Sequence[str]) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.__main__.build", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ExitCode.INTERRUPTED


def test_grpc_writes_no_lines_of_its_own_into_the_log_of_services() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command(f"$CASCADA serve embedding --metrics-port 0 --embedding-port {port}")
    assert done.returncode == 1
    assert [line[:12] for line in done.stderr.splitlines()] == ["error: Port "]
