"""`cascada health` against real servers: over unix sockets, ports and TLS."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from typer.testing import CliRunner

from cli.__main__ import build
from config_core.settings import Settings
from service_core.server import GrpcServer
from service_core.tls import ServerTls
from tests.unit.service_core.tls.certificates import Certificates

SERVICE = "cascada.query.v1.QueryService"


@asynccontextmanager
async def server(
    path: Path | None = None, *, ready: bool = True, environ: Mapping[str, str] | None = None
) -> AsyncIterator[GrpcServer]:
    tls = ServerTls.of(Settings.read(environ)) if environ else None
    found = GrpcServer("127.0.0.1", 0, socket=path, tls=None if tls is None else tls.credentials())
    found.add(SERVICE, lambda *_: None, object())
    await found.start()
    if ready:
        await found.set_serving()
    try:
        yield found
    finally:
        await found.stop(0)


async def health(*arguments: str, **environ: str) -> tuple[int, str]:
    """The exit code and the output of the command."""
    every = ["health", *arguments]
    result = await asyncio.to_thread(CliRunner(env=environ).invoke, build(every), every)
    return result.exit_code, result.output


async def test_a_service_that_serves_is_healthy_and_one_that_does_not_is_not(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server(tmp_path / "query.sock"))
        await stack.enter_async_context(server(tmp_path / "embedding.sock", ready=False))
        folder = str(tmp_path)
        assert await health("query", CASCADA_SOCKET_DIR=folder) == (0, "query: SERVING\n")
        code, output = await health("embedding", CASCADA_SOCKET_DIR=folder)
        assert (code, output) == (1, "embedding: NOT_SERVING\n")
        assert (await health("embedding", "--alive", CASCADA_SOCKET_DIR=folder))[0] == 0
        # Without a name all that run here are asked, and each has to serve.
        assert (await health(CASCADA_SOCKET_DIR=folder))[0] == 1
    async with server(tmp_path / "query.sock"):
        assert await health(CASCADA_SOCKET_DIR=folder) == (0, "query: SERVING\n")


async def test_where_nothing_listens_nothing_is_healthy(tmp_path: Path) -> None:
    for arguments in ((), ("query",), ("query", "--alive")):
        assert (await health(*arguments, CASCADA_SOCKET_DIR=str(tmp_path)))[0] == 3


async def test_a_server_that_hangs_is_not_alive(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "query.sock"))
        silent.listen()
        code, _ = await health("--alive", "--timeout", "0.2", CASCADA_SOCKET_DIR=str(tmp_path))
    assert code == 3


async def test_without_sockets_the_port_of_this_machine_is_asked() -> None:
    async with server() as found:
        elsewhere = {"CASCADA_QUERY_TARGET": "dns:///query.invalid:50052"}
        port = {"CASCADA_QUERY_PORT": str(found.port), "CASCADA_HOST": "0.0.0.0"}  # noqa: S104 # as in a container
        assert (await health("query", **port, **elsewhere))[0] == 0
        port = {"CASCADA_AGENT_EXECUTION_PORT": str(found.port)}
        assert (await health("agent-execution", **port))[0] == 0


async def test_a_server_with_tls_is_asked_over_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with server(environ=certificates.server()) as found:
        target = f"localhost:{found.port}"
        trusting = {"CASCADA_TLS_CA_FILE": str(tmp_path / "ca.pem")}
        assert (await health("--target", target, **trusting))[0] == 0
        assert (await health("--target", target))[0] == 3


def test_a_probe_loads_neither_services_nor_providers() -> None:
    script = (
        "import sys, cli.health\n"
        "heavy = ('service_core', 'pydantic_settings', 'query', 'embedding', 'openai', 'numpy')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
