"""Runs a command's work and ends the process with the exit code that belongs to its outcome."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer

from cli.exits import CommandError, ExitCode
from cli.output import Output
from config_core.errors import ConfigurationFileError


def run(output: Output, work: Coroutine[Any, Any, ExitCode]) -> NoReturn:
    """Runs a command's work and ends the command: raises typer.Exit always."""
    raise typer.Exit(outcome(output, work))


def outcome(output: Output, work: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    """Runs `work` in a loop of its own; writes why it failed, if it did."""
    try:
        return asyncio.run(work)
    except CommandError as error:
        output.failure(error)
        return error.exit_code
    except ConfigurationFileError as error:
        output.failure(wrong_configuration(error))
        return ExitCode.USAGE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def wrong_configuration(error: ConfigurationFileError) -> CommandError:
    """The failure that an invalid environment or configuration file makes."""
    return CommandError(
        f"The configuration is invalid: {error}",
        ExitCode.USAGE,
        details={
            "place": error.place,
            "problems": [{"path": path, "problem": why} for path, why in error.problems],
        },
    )
