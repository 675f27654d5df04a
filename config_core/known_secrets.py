"""Every secret that the operator has given this process: what no log may ever hold."""

import time
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel, SecretStr

from config_core.configuration_file import SecretOrigin
from config_core.secrets import SecretReader, SecretUnavailableError
from config_core.snapshot import Snapshot
from config_core.sources.environment import Environment

REMEMBERED_SECONDS = 7200.0
"""How long a secret that was replaced is still kept out of the logs: the longest request, twice."""
SAME_SECONDS = 60.0
"""How long nothing is looked at anew where nothing can change: none in a file, none replaced."""


class KnownSecrets:
    """The secrets of a snapshot; those in files are looked at anew, since they are rotated."""

    def __init__(
        self, *others: SecretStr | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`others` are secrets that stand in no snapshot."""
        self._others = [secret.get_secret_value() for secret in others if secret is not None]
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._fixed: list[str] = []
        self._origins: list[SecretOrigin] = []
        self._seen: dict[str, float] = {}
        self._same_until = 0.0
        self._known: list[str] = []

    def of(self, snapshot: Snapshot) -> list[str]:
        """The values in force, and those that were until recently."""
        now = self._clock()
        if snapshot is self._snapshot and now < self._same_until:
            return self._known
        if snapshot is not self._snapshot:
            found = [*_walk(snapshot.document), *_of_environment(snapshot.environment)]
            self._fixed = [
                secret.get_secret_value() for secret in found if isinstance(secret, SecretStr)
            ]
            self._origins = [origin for origin in found if isinstance(origin, SecretOrigin)]
            self._snapshot = snapshot
        in_force = (*self._fixed, *_read(self._origins, snapshot.secrets))
        self._seen.update(dict.fromkeys(in_force, now))
        for value in [value for value, at in self._seen.items() if now - at > REMEMBERED_SECONDS]:
            del self._seen[value]
        self._known = [*self._others, *self._seen]
        can_change = any(origin.file is not None for origin in self._origins)
        replaced = len(self._seen) > len(set(in_force))
        self._same_until = now if can_change or replaced else now + SAME_SECONDS
        return self._known


def _of_environment(environment: Environment) -> Iterator[SecretStr | SecretOrigin]:
    yield from _walk(environment.configuration)
    for connection in environment.connections.values():
        yield from _walk(connection.api_key)


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
