"""Reading secrets from where the operator keeps them: environment variables and files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from config_core.configuration_file import SecretOrigin

MAX_SECRET_BYTES = 16_384


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
            if known is not None and known[0] == stamp:
                return known[1]
            if status.st_size > MAX_SECRET_BYTES:
                raise SecretUnavailableError(f"file {path} is too large to be a secret")
            secret = self._checked(Path(path).read_text(encoding="ascii"), f"file {path}")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not ASCII text"
            raise SecretUnavailableError(f"file {path}: {why}") from None
        self._files[path] = (stamp, secret)
        return secret

    @staticmethod
    def _checked(text: str, place: str) -> SecretStr:
        text = text.strip()
        if not text:
            raise SecretUnavailableError(f"{place} is unset or empty")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise SecretUnavailableError(f"{place} does not hold a key of visible ASCII characters")
        return SecretStr(text)
