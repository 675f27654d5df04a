"""How a command ends: the exit codes that scripts can rely on, and the failure that carries one."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    """What was asked for is done."""
    FAILED = 1
    """The operation failed, in whole or in part."""
    USAGE = 2
    """The command line, the environment or the configuration is wrong."""
    UNREACHABLE = 3
    """The service can't be reached."""
    REFUSED = 4
    """Policy or permission forbids it."""
    CREDENTIAL = 5
    """A credential is missing, or a provider rejected it."""
    INTERRUPTED = 130
    """Somebody pressed Ctrl-C."""


EPILOG = (
    "Exit codes: 0 done; 1 the operation failed; 2 wrong usage or configuration; 3 the service is "
    "not reachable; 4 refused by policy or permission; 5 a credential is missing or was rejected; "
    "130 interrupted."
)


class CommandError(Exception):
    """A command can't go on. The message is one sentence without secrets that says what to do.

    `details` is what `--json` shows beside the message: reason, code, metadata, violations;
    `notes` are further lines for people.
    """

    def __init__(
        self,
        message: str,
        exit_code: ExitCode = ExitCode.FAILED,
        *,
        details: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.details = dict(details or {})
        self.notes = tuple(notes)
