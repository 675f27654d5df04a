import json

import pytest

from cli.exits import CommandError
from cli.output import Output, printable


def test_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\x9b2J\r\nc\td") == "a[31mb2J\nc\td"


def test_text_is_never_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Output().line("[bold]see [1][/bold] :smile:")
    assert capsys.readouterr().out == "[bold]see [1][/bold] :smile:\n"


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Output().line("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_nothing_is_coloured_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line("x", style="bold red")
    output.note("y")
    output.failure(CommandError("z"))
    streams = capsys.readouterr()
    assert "\x1b" not in streams.out + streams.err


def test_people_read_failures_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Output().failure(CommandError("It broke.", notes=["reason: X"]))
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == "error: It broke.\n  reason: X\n"


def test_scripts_read_failures_as_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).failure(CommandError("Ñ broke.", details={"reason": "X"}))
    streams = capsys.readouterr()
    assert json.loads(streams.out) == {"error": {"message": "Ñ broke.", "reason": "X"}}
    assert streams.err == ""
