"""The entry point of `cascada`: finds the command that is asked for, and loads only that one."""

import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import typer

from cli.connection_options import with_connection
from cli.exits import EPILOG, ExitCode

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Command:
    """One command: where it is, and what the list of commands says of it."""

    module: str
    function: str
    summary: str
    calls: bool = False
    """Whether it calls a service, and so has the options of a connection."""


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "serve": Command("cli.serve", "serve", "Run the services."),
        "ask": Command("cli.ask", "ask", "Ask a question.", calls=True),
        "index": Command("cli.index", "index", "Index documents.", calls=True),
        "reindex": Command(
            "cli.reindex", "reindex", "Embed a collection anew in another space.", calls=True
        ),
        "search": Command("cli.search", "search", "Find passages.", calls=True),
        "capabilities": Command(
            "cli.capabilities", "capabilities", "List providers, models and options.", calls=True
        ),
        "health": Command("cli.health", "health", "Ask services whether they serve."),
        "doctor": Command(
            "cli.doctor", "doctor", "Check what is configured, reachable and missing."
        ),
        "config explain": Command(
            "cli.config_explain",
            "explain",
            "Explain a configuration, value by value.",
            calls=True,
        ),
        "config schema": Command(
            "cli.config_schema", "schema", "Print the JSON schema of the configuration file."
        ),
        "token new": Command("cli.token", "new", "Make a token for a caller, and its hash."),
        "certs": Command("cli.certs", "certs", "Make certificates for development."),
    }
)

_GROUPS: Mapping[str, str] = MappingProxyType(
    {"config": "Explain configurations.", "token": "Identify callers."}
)


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application, with the command that `arguments` name loaded.

    The others have their name and summary only: loading gRPC and protobuf for a list of commands
    would take ten times as long.
    """
    wanted = [argument for argument in arguments if not argument.startswith("-")]
    app = _group("Cascada: answers over documents, with a model configuration for every request.")
    groups = {name: _group(summary) for name, summary in _GROUPS.items()}
    for path, command in COMMANDS.items():
        *group, name = path.split()
        place = groups[group[0]] if group else app
        if wanted[: len(group) + 1] == [*group, name]:
            function = getattr(importlib.import_module(command.module), command.function)
            if command.calls:
                function = with_connection(function)
            place.command(name, epilog=EPILOG)(function)
        else:
            place.command(name, help=command.summary)(_not_loaded)
    for name, group_app in groups.items():
        app.add_typer(group_app, name=name)
    return app


def main() -> None:
    """Run the command line of this process."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        # A terminal without the answer's letters is no reason to end in a traceback.
        getattr(sys, name).reconfigure(errors="replace")
    if sys.argv[1:2] == ["serve"]:
        # Or gRPC's core writes lines of its own into the log, one or two for each failed handshake.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        build(sys.argv[1:])(prog_name="cascada")
    except KeyboardInterrupt:  # while the command's modules are loaded
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        # Or Python would try once more to write what is left, and complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"error: The output can't be written: {error.strerror}.")


def _group(summary: str) -> typer.Typer:
    return typer.Typer(
        help=summary,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        # A traceback with local variables would show keys.
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _not_loaded() -> None:
    """Stands for a command that was not asked for."""


if __name__ == "__main__":
    main()
