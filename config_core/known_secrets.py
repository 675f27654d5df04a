"""Every secret that the operator has given this process: what no log may ever hold."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, SecretStr

from config_core.configuration_file import SecretOrigin
from config_core.secrets import SecretReader, SecretUnavailableError
from config_core.snapshot import Snapshot


class KnownSecrets:
    """The secrets of a snapshot; those in files are looked at anew, since they are rotated."""

    def __init__(self, *others: SecretStr | None) -> None:
        """`others` are secrets that stand in no snapshot."""
        self._others = [secret.get_secret_value() for secret in others if secret is not None]
        self._snapshot: Snapshot | None = None
        self._fixed: list[str] = []
        self._origins: list[SecretOrigin] = []

    def of(self, snapshot: Snapshot) -> list[str]:
        """The values in force."""
        if snapshot is not self._snapshot:
            environment = snapshot.environment
            keys = [connection.api_key for connection in environment.connections.values()]
            found = [*_walk(snapshot.document), *_walk(environment.configuration), *keys]
            self._fixed = [
                secret.get_secret_value() for secret in found if isinstance(secret, SecretStr)
            ]
            self._origins = [origin for origin in found if isinstance(origin, SecretOrigin)]
            self._snapshot = snapshot
        return [*self._others, *self._fixed, *_read(self._origins, snapshot.secrets)]


def _walk(value: object) -> Iterator[SecretStr | SecretOrigin]:
    if isinstance(value, SecretStr | SecretOrigin):
        yield value
    elif isinstance(value, BaseModel):
        for entry in value.__dict__.values():
            yield from _walk(entry)
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _walk(entry)
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from _walk(entry)


def _read(origins: list[SecretOrigin], secrets: SecretReader) -> Iterator[str]:
    for origin in origins:
        try:
            yield secrets.read(origin).get_secret_value()
        except SecretUnavailableError:
            continue  # what can't be read can't be logged either
