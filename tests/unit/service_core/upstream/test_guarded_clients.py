"""Every client dials through the guard: what was checked is what is called, by its name."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config_core.connection import Connection
from config_core.errors import Reason
from config_core.model_configuration import ModelProvider
from service_core.upstream.clients import ClientPool, Operation, Transport
from service_core.upstream.clients_http import trust
from service_core.upstream.dialling import Lookup
from service_core.upstream.errors import UpstreamFailedError, UpstreamRejectedError
from service_core.upstream.exchange import JsonAnswer, Question, ask
from tests.upstream.behaviours import Redirect
from tests.upstream.server import UpstreamServer

BODY = {"model": "m-1", "messages": [{"role": "user", "content": "Hi"}]}
METADATA = "169.254.169.254"
NAME = "provider.test"

each = pytest.mark.parametrize(
    ("provider", "transport"),
    [
        (provider, transport)
        for provider in (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
        for transport in Transport
    ],
    ids=str,
)


class Names:
    """A name service whose answers are the test's own, one after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@asynccontextmanager
async def pool(transport: Transport, lookup: Lookup) -> AsyncIterator[ClientPool]:
    clients = ClientPool(transport=transport, lookup=lookup)
    try:
        yield clients
    finally:
        await clients.aclose()


async def call(clients: ClientPool, connection: Connection) -> JsonAnswer:
    return await ask(clients, Question(connection, "m-1", Operation.CHAT, BODY))


async def refused(clients: ClientPool, connection: Connection) -> UpstreamFailedError:
    with pytest.raises(UpstreamFailedError, match="its address is not one") as raised:
        await call(clients, connection)
    return raised.value


def at(connection: Connection, host: str, **changes: Any) -> Connection:
    """The same connection under another host's name."""
    parts = urlsplit(connection.base_url)
    url = parts._replace(netloc=f"{host}:{parts.port}").geturl()
    return replace(connection, base_url=url, **changes)


@pytest.fixture
def no_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody but the guard look a name up."""

    async def refuse(_loop: object, host: str, *_: object, **__: object) -> None:
        raise AssertionError(f"{host} was looked up behind the guard's back")

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", refuse)


@each
@pytest.mark.usefixtures("no_other_names")
async def test_the_address_that_was_checked_is_the_one_that_is_called(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport
) -> None:
    names = Names(["127.0.0.1"], [METADATA])
    async with pool(transport, names) as clients:
        await call(clients, at(upstream.connection(provider), NAME))
    assert names.asked == [NAME]
    assert upstream.requests[0].headers["host"].startswith(NAME)


@each
@pytest.mark.usefixtures("no_other_names")
async def test_a_name_that_changes_is_checked_again_for_the_next_connection(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport
) -> None:
    names = Names(["127.0.0.1"], [METADATA])
    for last in (False, True):
        async with pool(transport, names) as clients:
            connection = at(upstream.connection(provider), NAME)
            await (refused if last else call)(clients, connection)
    assert len(upstream.requests) == 1


@each
@pytest.mark.parametrize(
    "addresses",
    [
        [METADATA],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
        ["fe80::1%1"],
        ["127.0.0.1", METADATA],
    ],
    ids=str,
)
async def test_a_name_with_a_forbidden_address_is_not_called(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport, addresses: list[str]
) -> None:
    async with pool(transport, Names(addresses)) as clients:
        error = await refused(clients, at(upstream.connection(provider), NAME))
    assert (error.code_reason, error.retryable) == (Reason.UPSTREAM_FAILED, False)
    assert not any(address in f"{error!r} {error.metadata}" for address in addresses)
    assert upstream.requests == []


@each
@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", METADATA])
async def test_an_address_in_the_url_is_checked_too(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport, host: str
) -> None:
    async with pool(transport, Names(["127.0.0.1"])) as clients:
        await refused(clients, at(upstream.connection(provider), host))
    assert upstream.requests == []


@each
async def test_loopback_is_called_only_by_a_connection_that_may_be_private(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport
) -> None:
    connection = upstream.connection(provider)
    async with pool(transport, Names(["127.0.0.1"])) as clients:
        # First the one that may: the other must not share its client.
        await call(clients, connection)
        await refused(clients, replace(connection, private=False))
        await refused(clients, at(connection, NAME, private=False))
    assert len(upstream.requests) == 1


@each
async def test_a_redirect_to_the_metadata_is_not_followed(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport
) -> None:
    upstream.default = Redirect(f"http://{METADATA}/latest/meta-data/")
    async with pool(transport, Names([METADATA])) as clients:
        with pytest.raises(UpstreamRejectedError, match="redirect"):
            await call(clients, upstream.connection(provider))


@each
async def test_the_next_address_is_called_where_one_does_not_answer(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport
) -> None:
    async with pool(transport, Names(["::1", "127.0.0.1"])) as clients:
        await call(clients, at(upstream.connection(provider), NAME))
    assert len(upstream.requests) == 1


@each
async def test_a_name_without_an_address_is_an_ordinary_failure(
    upstream: UpstreamServer, provider: ModelProvider, transport: Transport
) -> None:
    async with pool(transport, Names([])) as clients:
        with pytest.raises(UpstreamFailedError, match="could not be reached") as raised:
            await call(clients, at(upstream.connection(provider), NAME))
    assert raised.value.retryable


# --- Certificates


@pytest.fixture
def certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], ssl.SSLContext]]:
    """Makes a server's certificate for a name, and has the clients trust its issuer."""
    issuer_key, issuer_name = ec.generate_private_key(ec.SECP256R1()), _named("Test CA")
    issuer = (
        _template(issuer_name, issuer_key.public_key())
        .issuer_name(issuer_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    (tmp_path / "ca.pem").write_bytes(issuer.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def make(name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _template(_named(name), key.public_key())
            .issuer_name(issuer_name)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
            .sign(issuer_key, hashes.SHA256())
        )
        path = tmp_path / f"{name}.pem"
        path.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    trust.cache_clear()
    yield make
    trust.cache_clear()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _template(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


@asynccontextmanager
async def encrypted(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that answers every chat; gives its port and the host names that were asked for."""
    hosts: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        hosts.append(request.host)
        return web.json_response({"choices": []})

    application = web.Application()
    application.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1], hosts
    finally:
        await runner.cleanup()


@each
async def test_the_certificate_is_checked_by_name_though_an_address_is_called(
    upstream: UpstreamServer,
    provider: ModelProvider,
    transport: Transport,
    certificate: Callable[[str], ssl.SSLContext],
) -> None:
    for named, expected in ((NAME, True), ("other.test", False)):
        async with (
            encrypted(certificate(named)) as (port, hosts),
            pool(transport, Names(["127.0.0.1"])) as clients,
        ):
            connection = replace(
                upstream.connection(provider), base_url=f"https://{NAME}:{port}/v1"
            )
            if expected:
                await call(clients, connection)
            else:
                with pytest.raises(UpstreamFailedError):
                    await call(clients, connection)
        assert hosts == ([f"{NAME}:{port}"] if expected else [])
