"""TLS on a real server: what is spoken, who is let in, and how a new certificate comes in."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import structlog
from cryptography import x509
from grpc_health.v1 import health_pb2

from cli.authority import Authority
from service_core.channel import create_channel
from service_core.server import GrpcServer
from service_core.tls import ClientTls, ServerTls
from tests.unit.service_core.probe import SERVICE, Context, Message, add_probe, call, health, text
from tests.unit.service_core.tls.certificates import Certificates, settings


class Served:
    """A server with TLS, and how often its handler was called."""

    def __init__(self, tls: ServerTls) -> None:
        self.tls = tls
        self.server = GrpcServer("127.0.0.1", 0, tls=tls.credentials())
        self.entered = 0

    @property
    def target(self) -> str:
        return f"localhost:{self.server.port}"

    async def behaviour(self, _: Context) -> AsyncIterator[Message]:
        self.entered += 1
        yield text("answer")

    async def serial(self) -> int:
        """The serial number of the certificate that a new connection is shown."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number


@asynccontextmanager
async def serving(certificates: Certificates, *, mutual: bool = False) -> AsyncIterator[Served]:
    tls = ServerTls.of(settings(certificates.server(mutual=mutual)))
    assert tls is not None
    served = Served(tls)
    served.server.add(SERVICE, add_probe, served.behaviour)
    await served.server.start()
    try:
        yield served
    finally:
        await served.server.stop(0)


def credentials(certificates: Certificates, *, shows: bool = False) -> grpc.ChannelCredentials:
    tls = ClientTls.of(settings(certificates.client(shows=shows)))
    assert tls is not None
    return tls.credentials()


async def fails(channel: grpc.aio.Channel) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(channel, "UnaryUnary")
    return raised.value.code()


async def test_a_client_that_trusts_the_authority_is_served(certificates: Certificates) -> None:
    async with serving(certificates) as served:
        for target in (served.target, f"127.0.0.1:{served.server.port}"):
            async with create_channel(target, tls=credentials(certificates)) as channel:
                await call(channel, "UnaryUnary")
    assert served.entered == 2


async def test_plain_text_is_not_answered(certificates: Certificates) -> None:
    async with serving(certificates) as served, create_channel(served.target) as channel:
        assert await fails(channel) is grpc.StatusCode.UNAVAILABLE
    assert served.entered == 0


async def test_a_server_of_another_authority_is_not_called(certificates: Certificates) -> None:
    async with serving(certificates) as served:
        certificates.trust(Authority(1))
        async with create_channel(served.target, tls=credentials(certificates)) as channel:
            assert await fails(channel) is grpc.StatusCode.UNAVAILABLE
    assert served.entered == 0


async def test_a_server_of_another_name_is_not_called(certificates: Certificates) -> None:
    pair = certificates.authority.issue("server", ["elsewhere.example"])
    certificates.path("server.pem").write_bytes(pair.certificate)
    certificates.path("server.key").write_bytes(pair.key)
    async with serving(certificates) as served:
        trust = credentials(certificates)
        async with create_channel(served.target, tls=trust) as channel:
            assert await fails(channel) is grpc.StatusCode.UNAVAILABLE
        name = "elsewhere.example"
        async with create_channel(served.target, tls=trust, server_name=name) as channel:
            await call(channel, "UnaryUnary")
    assert served.entered == 1


# The versions themselves are deprecated; that they are refused is the point.
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_tls_is_of_version_1_2_at_least(
    version: ssl.TLSVersion, certificates: Certificates, *, spoken: bool
) -> None:
    context = ssl.create_default_context(cafile=certificates.path("ca.pem"))
    context.set_ciphers("ALL:@SECLEVEL=0")  # lets this client speak the old ones
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    async with serving(certificates) as served:
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", served.server.port, ssl=context, server_hostname="localhost"
            )
        except (ssl.SSLError, ConnectionError):
            assert not spoken
        else:
            assert spoken
            writer.close()


async def test_a_client_without_a_certificate_is_refused_at_the_handshake(
    certificates: Certificates,
) -> None:
    async with serving(certificates, mutual=True) as served:
        async with create_channel(served.target, tls=credentials(certificates)) as channel:
            assert await fails(channel) is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(grpc.aio.AioRpcError):
                await health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert served.entered == 0
        shown = credentials(certificates, shows=True)
        async with create_channel(served.target, tls=shown) as channel:
            await call(channel, "UnaryUnary")


async def test_a_client_of_another_authority_is_refused_at_the_handshake(
    certificates: Certificates,
) -> None:
    certificates.renew("client", Authority(1))
    async with serving(certificates, mutual=True) as served:
        shown = credentials(certificates, shows=True)
        async with create_channel(served.target, tls=shown) as channel:
            assert await fails(channel) is grpc.StatusCode.UNAVAILABLE
    assert served.entered == 0


async def test_a_new_certificate_is_shown_at_the_next_handshake_and_calls_go_on(
    certificates: Certificates,
) -> None:
    async with serving(certificates) as served:
        async with create_channel(served.target, tls=credentials(certificates)) as channel:
            await call(channel, "UnaryUnary")
            before = await served.serial()
            certificates.renew("server")
            await served.tls.reload()
            assert await served.serial() != before
            await call(channel, "UnaryUnary")
        async with create_channel(served.target, tls=credentials(certificates)) as channel:
            await call(channel, "UnaryUnary")
    assert served.entered == 3


async def test_a_half_written_pair_changes_nothing_until_it_is_whole(
    certificates: Certificates,
) -> None:
    async with serving(certificates) as served:
        before = await served.serial()
        pair = certificates.authority.issue("server", ["localhost"])
        certificates.path("server.pem").write_bytes(pair.certificate)
        with structlog.testing.capture_logs() as logs:
            await served.tls.reload()
        assert await served.serial() == before
        assert [entry["log_level"] for entry in logs] == ["error"]
        certificates.path("server.key").write_bytes(pair.key)
        await served.tls.reload()
        assert await served.serial() != before


async def test_an_authority_that_is_no_longer_trusted_lets_nobody_in(
    certificates: Certificates,
) -> None:
    async with serving(certificates, mutual=True) as served:
        shown = credentials(certificates, shows=True)
        async with create_channel(served.target, tls=shown) as channel:
            await call(channel, "UnaryUnary")
        trusts_server = certificates.path("ca.pem").read_bytes()
        certificates.trust(Authority(1))
        await served.tls.reload()
        certificates.path("ca.pem").write_bytes(trusts_server)
        shown = credentials(certificates, shows=True)
        async with create_channel(served.target, tls=shown) as channel:
            assert await fails(channel) is grpc.StatusCode.UNAVAILABLE
    assert served.entered == 1
