"""`cascada health`: whether services serve, for the probes of whoever runs them.

A probe is run every few seconds, so this module imports what it needs and little else.
"""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.exits import CommandError, ExitCode
from cli.options import Json, Service
from cli.output import Output
from cli.running import run

_UNREACHABLE = "UNREACHABLE"


def health(
    services: Annotated[
        list[Service] | None,
        typer.Argument(
            metavar="[SERVICE]...",
            help="agent-execution, query, embedding; all that run here if left out.",
        ),
    ] = None,
    *,
    target: Annotated[
        str | None, typer.Option(help="Ask the server at this gRPC target instead.")
    ] = None,
    alive: Annotated[
        bool, typer.Option("--alive", help="Any answer is enough, such as NOT_SERVING.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=60, help="Seconds to wait for an answer.")
    ] = 3.0,
    as_json: Json = False,
) -> None:
    """Ask services whether they serve: exit code 0 if all do, 1 if one does not, 3 without answer.

    They are reached over their unix sockets in CASCADA_SOCKET_DIR, which need no certificate, or
    else at their ports, over TLS where the environment says so.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        targets = {target: target} if target else _targets(services or [], os.environ)
        asked = (_state(at, timeout) for at in targets.values())
        states = dict(zip(targets, await asyncio.gather(*asked), strict=True))
        if as_json:
            output.document(states)
        else:
            for name, state in states.items():
                output.line(f"{name}: {state}")
        return _exit_code(set(states.values()), alive=alive)

    run(output, work())


def _targets(services: Sequence[Service], environ: Mapping[str, str]) -> Mapping[str, str]:
    """Where each service is asked, by its name."""
    folder = environ.get("CASCADA_SOCKET_DIR")
    if not folder:
        return {service.value: _port_target(service, environ) for service in services or Service}
    sockets = {service: Path(folder) / f"{service.value}.sock" for service in services or Service}
    there = [service for service, path in sockets.items() if services or path.exists()]
    if not there:
        raise CommandError(f"No service listens in {folder}.", ExitCode.UNREACHABLE)
    return {service.value: f"unix:{sockets[service]}" for service in there}


def _port_target(service: Service, environ: Mapping[str, str]) -> str:
    from config_core.settings import Settings  # noqa: PLC0415 # the way over sockets needs none

    settings = Settings.read(environ)
    port: int = getattr(settings, f"{service.value.replace('-', '_')}_port")
    # On this machine, wherever the services that this one calls may be.
    here = settings.model_copy(update={"query_target": "", "query_port": port})
    return here.target_of("query")


async def _state(target: str, seconds: float) -> str:
    """What the server says of itself, such as SERVING."""
    async with _channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.aio.AioRpcError:
            return _UNREACHABLE
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def _channel(target: str) -> grpc.aio.Channel:
    if target.startswith("unix:"):
        return grpc.aio.insecure_channel(target)
    from config_core.settings import Settings  # noqa: PLC0415 # as above
    from service_core.outgoing import Outgoing  # noqa: PLC0415 # as above

    # Health is open to everyone: the token stays here.
    settings = Settings.read({**os.environ, "CASCADA_TOKEN": ""})
    return Outgoing.of_command(settings).channel(target)


def _exit_code(states: Collection[str], *, alive: bool) -> ExitCode:
    if _UNREACHABLE in states:
        return ExitCode.UNREACHABLE
    serving = alive or all(state == "SERVING" for state in states)
    return ExitCode.OK if serving else ExitCode.FAILED
