"""Services over mutual TLS, known to one another by their certificates, which are replaced.

Two real services and their watches over files run in this process; callers never stop.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import structlog
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cryptography import x509

import agent_execution.app
import query.app
from cli.authority import TRUST_DOMAIN, Authority
from service_core.outgoing import Outgoing
from service_core.process import Build, configure, open_process
from service_core.watch import Watch
from tests.system.asking import UPSTREAM_MODELS, base_urls
from tests.unit.service_core.running import PORTS
from tests.unit.service_core.tls.certificates import Certificates, settings
from tests.upstream.fixtures import upstream
from tests.upstream.server import UpstreamServer

__all__ = ["upstream"]

CALLERS = 6
IDENTITY = {
    "certificates": {
        "services": {"uri": f"{TRUST_DOMAIN}server", "roles": ["service"]},
        "people": {"uri": f"{TRUST_DOMAIN}client", "tenant": "acme", "roles": ["caller"]},
    }
}


@dataclass
class Running:
    """The services, and callers of the first of them."""

    certificates: Certificates
    ports: list[int]
    channel: grpc.aio.Channel
    answered: int = 0
    failures: list[grpc.aio.AioRpcError] = field(default_factory=list)

    async def call(self) -> None:
        """One answer, through both services."""
        stub = AgentExecutionServiceStub(self.channel)
        try:
            response = await stub.Execute(pb.ExecuteRequest(message="hola"), timeout=30)
        except grpc.aio.AioRpcError as error:
            self.failures.append(error)
        else:
            assert response.answer
            self.answered += 1

    async def calls(self) -> None:
        """Call until cancelled."""
        while True:
            await self.call()

    async def shows(self, port: int) -> int:
        """The serial number of the certificate that a new connection to a server is shown."""
        path = self.certificates.path
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(path("client.pem"), path("client.key"))
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the watches bring about, and for calls after it."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 # what is waited for tells nobody
                await asyncio.sleep(0.01)
            enough = self.answered + 3 * CALLERS
            while self.answered < enough:
                assert not self.failures
                await asyncio.sleep(0.01)

    async def until_shown(self, serial: int) -> None:
        """Wait until every server shows a certificate to new connections."""
        async with asyncio.timeout(30):
            while {await self.shows(port) for port in self.ports} != {serial}:  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)
        await self.until(lambda: True)


@asynccontextmanager
async def running(folder: Path, upstream: UpstreamServer) -> AsyncIterator[Running]:
    certificates = Certificates(folder)
    path = folder / "cascada.json"
    path.write_text(json.dumps({"identity": IDENTITY}), encoding="utf-8")  # a small file
    environ = {
        **PORTS,
        **UPSTREAM_MODELS,
        **base_urls(upstream),
        **certificates.server(mutual=True),
        "OPENAI_API_KEY": "sk-operator-0123456789",
        "CASCADA_TLS_CA_FILE": str(certificates.path("ca.pem")),
        "CASCADA_TLS_CLIENT_CERT_FILE": str(certificates.path("server.pem")),
        "CASCADA_TLS_CLIENT_KEY_FILE": str(certificates.path("server.key")),
        "CASCADA_CONFIG_FILE": str(path),
        "CASCADA_DATA_DIR": str(folder),
    }
    async with AsyncExitStack() as stack:

        async def start(build: Build, **targets: str) -> int:
            process = await open_process(*configure({**environ, **targets}), stack)
            server = await build(process, stack)
            stack.push_async_callback(server.stop, 0)
            return server.port

        queries = await start(query.app.build)
        agents = await start(agent_execution.app.build, CASCADA_QUERY_TARGET=f"localhost:{queries}")
        outgoing, watch = Outgoing.of_service(settings(certificates.client(shows=True))), Watch()
        outgoing.keep_current(watch)
        watching = asyncio.create_task(watch.run())
        stack.callback(watching.cancel)
        channel = await stack.enter_async_context(outgoing.channel(f"localhost:{agents}"))
        yield Running(certificates, [queries, agents], channel)


@asynccontextmanager
async def under_load(found: Running) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(found.calls()) for _ in range(CALLERS)]
    try:
        await found.until(lambda: True)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        assert task.cancelled(), task.exception()


async def test_a_new_certificate_comes_into_force_under_load_and_no_call_fails(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    async with running(tmp_path, upstream) as found, under_load(found):
        for _ in range(3):
            pair = found.certificates.renew("server")
            serial = x509.load_pem_x509_certificate(pair.certificate).serial_number
            await found.until_shown(serial)
        assert found.failures == []


async def test_a_new_authority_comes_into_force_under_load_and_no_call_fails(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    async with running(tmp_path, upstream) as found, under_load(found):
        old, fresh = found.certificates.authority, Authority(1)
        with structlog.testing.capture_logs() as logs:

            def taken_over(count: int) -> bool:
                """Whether both servers, the service that calls, and the test have read them."""
                events = [entry["event"] for entry in logs]
                servers = events.count("certificate changed")
                return servers >= 2 and events.count("certificates for calls changed") >= count

            # First everybody trusts both, then each shows a certificate of the new one.
            found.certificates.trust(old, fresh)
            await found.until(lambda: taken_over(2))
            pair = found.certificates.renew("server", fresh)
            serial = x509.load_pem_x509_certificate(pair.certificate).serial_number
            await found.until_shown(serial)
            logs.clear()
            found.certificates.renew("client", fresh)
            found.certificates.trust(fresh)
            await found.until(lambda: taken_over(2))
        assert found.failures == []


async def test_a_certificate_of_another_authority_gets_nowhere_between_services(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    async with running(tmp_path, upstream) as found:
        await found.call()
        assert found.answered == 1
        # What a caller has that holds no certificate of ours.
        other = Certificates(tmp_path_of(tmp_path, "other"))
        other.path("ca.pem").write_bytes(found.certificates.path("ca.pem").read_bytes())
        outgoing = Outgoing.of_service(settings(other.client(shows=True)))
        for port in found.ports:
            async with outgoing.channel(f"localhost:{port}") as channel:
                found.channel = channel
                await found.call()
        assert [error.code() for error in found.failures] == [grpc.StatusCode.UNAVAILABLE] * 2


@pytest.mark.parametrize("name", ["client", "server"])
async def test_a_certificate_is_let_in_where_its_role_is_enough(
    name: str, tmp_path: Path, upstream: UpstreamServer
) -> None:
    # People call agent execution; a service calls query, and not agent execution.
    async with running(tmp_path, upstream) as found:
        path = found.certificates.path
        environ = {
            "CASCADA_TLS_CA_FILE": str(path("ca.pem")),
            "CASCADA_TLS_CLIENT_CERT_FILE": str(path(f"{name}.pem")),
            "CASCADA_TLS_CLIENT_KEY_FILE": str(path(f"{name}.key")),
        }
        target = f"localhost:{found.ports[1]}"
        async with Outgoing.of_service(settings(environ)).channel(target) as channel:
            found.channel = channel
            await found.call()
        if name == "client":
            assert found.answered == 1
        else:
            assert [error.code() for error in found.failures] == [grpc.StatusCode.PERMISSION_DENIED]


def tmp_path_of(folder: Path, name: str) -> Path:
    """A folder of its own."""
    own = folder / name
    own.mkdir()
    return own
