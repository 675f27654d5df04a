"""`cascada serve`: the services, together or one alone, until a signal."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import Annotated

import typer

from cli import options, services
from cli.exits import CommandError
from cli.output import Output
from cli.running import wrong_configuration
from cli.supervising import supervise
from config_core.errors import ConfigurationFileError
from config_core.settings import Settings
from service_core.entry import run
from service_core.process import Build, Process
from service_core.server import BindError, GrpcServer
from service_core.worker import Worker


class Served(StrEnum):
    """What one process serves."""

    ALL = "all"
    AGENT_EXECUTION = "agent-execution"
    QUERY = "query"
    EMBEDDING = "embedding"


def serve(
    service: Annotated[Served, typer.Argument(help="Which service; all by default.")] = Served.ALL,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [CASCADA_HOST]")] = None,
    agent_execution_port: Annotated[
        str | None, typer.Option(metavar="PORT", help="0 takes a free one. [CASCADA_…_PORT]")
    ] = None,
    query_port: Annotated[str | None, typer.Option(metavar="PORT", help="As above.")] = None,
    embedding_port: Annotated[str | None, typer.Option(metavar="PORT", help="As above.")] = None,
    metrics_port: Annotated[
        str | None, typer.Option(metavar="PORT", help="Prometheus. [CASCADA_METRICS_PORT]")
    ] = None,
    query_target: Annotated[
        str | None, typer.Option(help="Where the query service is. [CASCADA_QUERY_TARGET]")
    ] = None,
    embedding_target: Annotated[
        str | None, typer.Option(help="Where the embedding service is. [CASCADA_EMBEDDING_TARGET]")
    ] = None,
    config_file: Annotated[
        str | None, typer.Option(help="The configuration file. [CASCADA_CONFIG_FILE]")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of what the services keep. [CASCADA_DATA_DIR]")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N", help="Processes that share the ports. [CASCADA_WORKERS]"),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. [CASCADA_LOG_LEVEL]")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run the services until SIGTERM or Ctrl-C; running requests may finish.

    An option sets the environment variable that stands behind it. Where they listen and when they
    are ready is told on standard error; with --json, one document on standard output when ready.
    """
    output = Output(as_json=as_json)
    given = {
        "HOST": host,
        "AGENT_EXECUTION_PORT": agent_execution_port,
        "QUERY_PORT": query_port,
        "EMBEDDING_PORT": embedding_port,
        "METRICS_PORT": metrics_port,
        "QUERY_TARGET": query_target,
        "EMBEDDING_TARGET": embedding_target,
        "CONFIG_FILE": config_file,
        "DATA_DIR": data_dir,
        "WORKERS": workers,
        "LOG_LEVEL": log_level,
    }
    for name, value in given.items():
        if value is not None:
            os.environ[f"CASCADA_{name}"] = value
    names = services.NAMES if service is Served.ALL else (service.value,)
    worker = Worker.of(os.environ)
    try:
        if worker is None and Settings.read(os.environ).workers > 1:
            supervise(service.value, names, output)
        else:
            run(_announced(names, None if worker is not None else output), worker=worker)
    except ConfigurationFileError as error:
        _fail(output, wrong_configuration(error), worker)
    except CommandError as error:
        _fail(output, error, worker)
    except BindError as error:
        _fail(output, CommandError(str(error)), worker)


def _fail(output: Output, error: CommandError, worker: Worker | None) -> None:
    """A worker tells its supervisor, which says it once for all."""
    if worker is None:
        output.failure(error)
    else:
        worker.failed(error.message, error.exit_code)
    raise typer.Exit(error.exit_code) from None


def _announced(names: Sequence[str], output: Output | None) -> list[Build]:
    """The builds; with an output, the last also begins to wait until all services are ready."""
    servers: dict[str, GrpcServer] = {}
    if output is None:
        return services.builds(names, servers.__setitem__)

    def started(name: str, server: GrpcServer) -> None:
        servers[name] = server
        output.note(f"{name} listens on {server.host}, port {server.port}")

    *first, last = services.builds(names, started)

    async def build(process: Process, stack: AsyncExitStack) -> GrpcServer:
        server = await last(process, stack)
        task = asyncio.create_task(_announce(servers, output), name="announce")
        stack.push_async_callback(_ended, task)
        return server

    return [*first, build]


async def _announce(servers: Mapping[str, GrpcServer], output: Output) -> None:
    await asyncio.gather(*(server.serving() for server in servers.values()))
    output.note("ready")
    if output.as_json:
        places = {name: services.address(server) for name, server in servers.items()}
        output.document({"ready": True, "services": places})


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
