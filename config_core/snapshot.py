"""The snapshot: everything of the operator's that a request resolves on, from beginning to end.

A request takes `Snapshots.current` once and keeps it. The file is watched; a change that is valid
becomes the next snapshot as a whole, one that is not is reported and changes nothing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from config_core import file_reader
from config_core.configuration_file import ConfigurationFile
from config_core.credentials import Credentials
from config_core.errors import ConfigurationFileError
from config_core.layer import Layer
from config_core.model_configuration import ConnectionKind
from config_core.registry import Registry
from config_core.resolve import Resolution, resolve
from config_core.rules import Rules
from config_core.secrets import SecretReader
from config_core.sources import collection, file, tenant
from config_core.sources.collection import PinnedSpace
from config_core.sources.defaults import DEFAULT_LAYER
from config_core.sources.environment import Environment
from config_core.sources.request import Incoming

POLL_SECONDS = 0.25
_NOTHING_SENT = Incoming()


@dataclass(frozen=True)
class Snapshot:
    """One state of the operator's configuration."""

    document: ConfigurationFile
    version: str
    environment: Environment
    secrets: SecretReader

    def resolve(
        self,
        kind: ConnectionKind,
        tenant_id: str,
        incoming: Incoming,
        pinned: PinnedSpace | None = None,
    ) -> Resolution:
        """Resolve one operation of one tenant's request; `pinned` adds a collection's space."""
        layers = [*incoming.layers, *self.operator_layers(tenant_id)]
        if pinned is not None:
            layers.append(collection.layer(pinned))
        return resolve(
            kind,
            layers,
            self.registry(tenant_id, incoming),
            self.rules(tenant_id),
            self.version,
            incoming.violations,
        )

    def operator_layers(self, tenant_id: str) -> tuple[Layer, ...]:
        """This service's own layers, highest first."""
        return self._layers.get(tenant_id, self._general_layers)

    @cached_property
    def _layers(self) -> Mapping[str, tuple[Layer, ...]]:
        return {
            name: (tenant.layer(entry), *self._general_layers)
            for name, entry in self.document.tenants.items()
        }

    @cached_property
    def _general_layers(self) -> tuple[Layer, ...]:
        return (file.layer(self.document), self.environment.layer, DEFAULT_LAYER)

    def registry(self, tenant_id: str, incoming: Incoming = _NOTHING_SENT) -> Registry:
        """What is registered, as this tenant may use it."""
        registry = self._registries.get(tenant_id, self._general_registry)
        return registry.with_forwarded(incoming.connections) if incoming.connections else registry

    def rules(self, tenant_id: str) -> Rules:
        """The rules for this tenant: its own policy and the one for everyone."""
        return self._rules.get(tenant_id, self._general_rules)

    @cached_property
    def _registries(self) -> Mapping[str, Registry]:
        named = {name for entry in self.document.secrets.values() for name in entry.tenants}
        return {name: self._registry_of(name) for name in named | self.document.tenants.keys()}

    @cached_property
    def _general_registry(self) -> Registry:
        return self._registry_of(None)

    def _registry_of(self, tenant_id: str | None) -> Registry:
        credentials = Credentials(self.document, self.environment, self.secrets, tenant_id)
        return Registry(self.document, self.environment, credentials)

    @cached_property
    def _rules(self) -> Mapping[str, Rules]:
        general = self.document.policy
        return {
            name: Rules.of(general, name, entry.policy)
            for name, entry in self.document.tenants.items()
        }

    @cached_property
    def _general_rules(self) -> Rules:
        return Rules.of(self.document.policy)


class Snapshots:
    """The snapshot in force, and the watch over its file."""

    def __init__(
        self,
        path: Path | None,
        environment: Environment,
        secrets: SecretReader,
        on_change: Callable[[Snapshot], None] = lambda _: None,
        on_refusal: Callable[[ConfigurationFileError], None] = lambda _: None,
    ) -> None:
        """Load the first snapshot; with none to fall back on, raises ConfigurationFileError."""
        self._path = path
        self._environment = environment
        self._secrets = secrets
        self._on_change = on_change
        self._on_refusal = on_refusal
        self._stamp = self._look()
        self._current = self._load()
        self.since = time.monotonic()
        """When the version in force was taken over."""
        self.is_refused = False
        """Whether the file is one that was refused, so that the one before it holds."""

    @property
    def current(self) -> Snapshot:
        """The snapshot in force; a request keeps the one that it took."""
        return self._current

    def reload(self) -> bool:
        """Read the file again; an invalid one is reported and changes nothing."""
        self._stamp = self._look()
        try:
            snapshot = self._load()
        except ConfigurationFileError as error:
            self._refuse(error)
            return False
        changed = snapshot.version != self._current.version
        self.is_refused = False
        # Keys are not part of the version, so that the new document holds even where it is equal.
        self._current = snapshot
        if changed:
            self.since = time.monotonic()
            self._on_change(snapshot)
        return True

    async def watch(self) -> None:
        """Reload whenever the file changes, until cancelled."""
        while self._path is not None:
            await asyncio.sleep(POLL_SECONDS)
            if self._look() != self._stamp:
                try:
                    self.reload()
                except Exception as error:  # noqa: BLE001 # the watch has to go on, whatever it was
                    problem = ("", f"can't be taken over: {type(error).__name__}")
                    self._refuse(ConfigurationFileError(str(self._path), [problem]))

    def _refuse(self, error: ConfigurationFileError) -> None:
        self.is_refused = True
        self._on_refusal(error)

    def _look(self) -> tuple[int, int, int] | None:
        """What tells one state of the file from another; follows the links of mounted volumes."""
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load(self) -> Snapshot:
        if self._path is None:
            document, version = ConfigurationFile(), file_reader.version_of({})
        else:
            document, version = file_reader.read(self._path)
        self._environment.check(document)
        return Snapshot(document, version, self._environment, self._secrets)
