"""The three services in one process: how they are built one after another, and found."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import MappingProxyType

from cli.exits import CommandError, ExitCode
from config_core.settings import Settings
from query.store import open_store
from query.store.errors import StoreError
from service_core.process import Build, Process
from service_core.server import GrpcServer

_MODULES: Mapping[str, str] = MappingProxyType(
    {
        "embedding": "embedding.app",
        "query": "query.app",
        "agent-execution": "agent_execution.app",
    }
)

NAMES: tuple[str, ...] = tuple(_MODULES)
"""The services in the order in which they depend on one another."""

Started = Callable[[str, GrpcServer], None]
"""Is told the name of each service that listens."""

_EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # it is replaced


def builds(names: Sequence[str], started: Started) -> list[Build]:
    """The services' builds; each is told where those before it listen, free ports included.

    A build raises CommandError for a store that can't be opened, beside what `app.build` raises.
    """
    found: dict[str, str] = {}
    servers: dict[str, GrpcServer] = {}
    return [_build(name, found, servers, started) for name in names]


def address(server: GrpcServer) -> str:
    """The target at which this machine reaches a server."""
    return address_of(server.host, server.port)


def address_of(listening: str, port: int) -> str:
    """The target at which this machine reaches what listens on a host and port."""
    host = _EVERY_ADDRESS.get(listening, listening)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _build(
    name: str, found: dict[str, str], servers: dict[str, GrpcServer], started: Started
) -> Build:
    async def build(process: Process, stack: AsyncExitStack) -> GrpcServer:
        # Imported when it is needed: the providers' SDKs take their time.
        module = importlib.import_module(_MODULES[name])
        settings = process.settings
        if name == "query":
            _check_store(settings)
        targets = {field: at for field, at in found.items() if not getattr(settings, field)}
        own = replace(
            process,
            settings=settings.model_copy(update=targets),
            own={at: servers[at] for at in targets.values()},
        )
        try:
            server: GrpcServer = await module.build(own, stack)
        except StoreError as error:
            raise _unusable_store(settings, str(error)) from None
        if name != "agent-execution":
            target = server.socket_target or address(server)
            found[f"{name}_target"], servers[target] = target, server
        started(name, server)
        return server

    return build


def _check_store(settings: Settings) -> None:
    try:
        open_store(settings.store_url)
    except ValueError as error:
        raise _unusable_store(settings, str(error)) from None


def _unusable_store(settings: Settings, why: str) -> CommandError:
    message = f"The vector store can't be opened ({settings.store_variable}): {why}"
    return CommandError(message, ExitCode.USAGE)
