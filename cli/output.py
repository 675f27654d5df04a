"""Where a command writes: answers to standard output, progress and notes to standard error."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from cli.exits import CommandError

# Tables in a file or pipe are not squeezed into a terminal's default of 80 columns.
_PIPE_WIDTH = 120

# All but line feed and tab: what a model or document says must not steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Text of a model, document or server without what a terminal would take for commands."""
    return _CONTROL.sub("", text)


class Output:
    """The two streams of a command; with `as_json` the first has one JSON document, nothing else.

    Colours appear on a terminal only, and never where NO_COLOR is set.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)

    @property
    def progress_console(self) -> Console:
        """The console for progress bars: standard error."""
        return self._err

    @property
    def interactive(self) -> bool:
        """Whether somebody watches the progress."""
        return self._err.is_terminal

    def document(self, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """Writes the one JSON document."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
        sys.stdout.flush()

    def piece(self, text: str) -> None:
        """Writes a piece of an answer at once, without a line's end."""
        sys.stdout.write(printable(text))
        sys.stdout.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """Writes a line of the result."""
        self._out.print(Text(printable(text), style=style), soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Writes a table."""
        self._out.print(renderable)

    def note(self, text: str) -> None:
        """Tells people something that is not part of the result."""
        self._err.print(Text(printable(text), style="dim"), soft_wrap=True)

    def working(self, text: str) -> AbstractContextManager[object]:
        """Shows a spinner while the block runs, on a terminal."""
        return self._err.status(Text(text, style="dim")) if self.interactive else nullcontext()

    def failure(self, error: CommandError) -> None:
        """Writes why the command failed."""
        if self.as_json:
            self.document({"error": {"message": error.message, **error.details}})
            return
        text = Text("error: ", style="bold red")
        text.append(printable(error.message), style="default not bold")
        self._err.print(text, soft_wrap=True)
        for line in error.notes:
            self.note(f"  {line}")


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    return console
