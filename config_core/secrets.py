"""Reading secrets from where the operator keeps them: environment variables and files.

A vault is another implementation of the port: a further field of SecretOrigin says where in it a
secret is, and `read` answers from memory, which a task of its own keeps up to date. It is asked
several times a request, on the event loop, and must not wait for a network.
"""

import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from config_core.configuration_file import SecretOrigin

MAX_SECRET_BYTES = 16_384
SETTLED_SECONDS = 0.3
"""How long a file that is known has to be left alone before its new content counts."""


class SecretUnavailableError(Exception):
    """A registered secret can't be read. The message names its origin, for the operator's log."""


class SecretReader(Protocol):
    """Where secrets come from; another vault is another implementation."""

    def read(self, origin: SecretOrigin) -> SecretStr:
        """The secret in force now; raises SecretUnavailableError."""
        ...


class LocalSecrets:
    """Secrets from environment variables and files. A file is read again when it has changed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._files: dict[str, tuple[tuple[int, int, int], SecretStr]] = {}

    def read(self, origin: SecretOrigin) -> SecretStr:
        """The secret in force now; raises SecretUnavailableError."""
        if origin.env is not None:
            return self._checked(self._environ.get(origin.env, ""), f"variable {origin.env}")
        assert origin.file is not None
        return self._from_file(origin.file)

    def _from_file(self, path: str) -> SecretStr:
        try:
            status = Path(path).stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._files.get(path)
            if known is not None and (known[0] == stamp or _is_being_written(status)):
                return known[1]
            if not stat.S_ISREG(status.st_mode):
                raise SecretUnavailableError(f"file {path} is not a regular file")
            secret = self._checked(_text(path), f"file {path}")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not ASCII text"
            raise SecretUnavailableError(f"file {path}: {why}") from None
        self._files[path] = (stamp, secret)
        return secret

    @staticmethod
    def _checked(text: str, place: str) -> SecretStr:
        text = text.strip()
        if len(text) > MAX_SECRET_BYTES:
            raise SecretUnavailableError(f"{place} is too large to be a secret")
        if not text:
            raise SecretUnavailableError(f"{place} is unset or empty")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise SecretUnavailableError(f"{place} does not hold a key of visible ASCII characters")
        return SecretStr(text)


def _is_being_written(status: os.stat_result) -> bool:
    """Whether a file may hold half of a new secret: not every editor replaces it in one step."""
    return 0 <= time.time() - status.st_mtime < SETTLED_SECONDS


def _text(path: str) -> str:
    """What a file holds, up to a little more than a secret may have."""
    with Path(path).open("rb") as file:
        return file.read(2 * MAX_SECRET_BYTES).decode("ascii")
