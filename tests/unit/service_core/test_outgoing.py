"""How a process reaches other services: what travels over which connection, and what is renewed."""

# a test writes its small files on the spot

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from cli.authority import Authority
from config_core.errors import ConfigurationFileError
from service_core import identified_channel
from service_core import watch as watch_module
from service_core.outgoing import Outgoing, OwnToken
from service_core.server import GrpcServer
from service_core.tls import ServerTls
from service_core.watch import Watch
from tests.unit.service_core.probe import SERVICE, Context, Message, add_probe, call, text
from tests.unit.service_core.tls.certificates import Certificates, settings

REMOTE, LOCAL = "query.example:50052", "127.0.0.1:50052"
TOKEN = {"CASCADA_SERVICE_TOKEN": "canary-token"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(identified_channel, "OPENING_SECONDS", 0.2)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


class Served:
    """A server with TLS that notes who called, by token and certificate."""

    def __init__(self, tls: ServerTls) -> None:
        self.tls = tls
        self.server = GrpcServer("127.0.0.1", 0, tls=tls.credentials())
        self.tokens: list[str | bytes | None] = []
        self.serials: list[bytes] = []

    @property
    def target(self) -> str:
        return f"localhost:{self.server.port}"

    async def behaviour(self, context: Context) -> AsyncIterator[Message]:
        self.tokens.append(dict(context.invocation_metadata() or ()).get("authorization"))
        self.serials.extend(context.auth_context().get("x509_pem_cert", ()))
        yield text("answer")


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


@asynccontextmanager
async def kept_current(outgoing: Outgoing) -> AsyncIterator[None]:
    watch = Watch()
    outgoing.keep_current(watch)
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_token_never_goes_unencrypted_to_another_machine() -> None:
    outgoing = Outgoing.of_service(settings(TOKEN))
    with pytest.raises(ConfigurationFileError) as caught:
        outgoing.channel(REMOTE)
    ((variable, why),) = caught.value.problems
    assert variable == "CASCADA_SERVICE_TOKEN"
    assert REMOTE in why
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "environ"),
    [
        (LOCAL, {}),
        ("unix:/run/query.sock", {}),
        (REMOTE, {"CASCADA_TLS": "1"}),
        (REMOTE, {"CASCADA_ALLOW_INSECURE": "1"}),
    ],
)
async def test_it_goes_over_tls_and_within_this_machine(
    target: str, environ: dict[str, str]
) -> None:
    await Outgoing.of_service(settings(TOKEN, environ)).channel(target).close()


@pytest.mark.parametrize(
    ("target", "environ", "may"),
    [
        (REMOTE, {}, False),
        (LOCAL, {}, True),
        (REMOTE, {"CASCADA_TLS": "1"}, True),
        (REMOTE, {"CASCADA_ALLOW_INSECURE": "1"}, True),
    ],
)
def test_keys_go_where_tokens_go(target: str, environ: dict[str, str], *, may: bool) -> None:
    outgoing = Outgoing.of_service(settings(environ))
    assert outgoing.may_carry_keys(target) is may
    service = outgoing.next_service("query", target)
    assert (service.tls or service.allow_insecure or target == LOCAL) is may


async def test_a_command_has_a_token_of_its_own(certificates: Certificates) -> None:
    environ = {**certificates.client(), **TOKEN, "CASCADA_TOKEN": "mine"}
    outgoing = Outgoing.of_command(settings(environ))
    async with serving(certificates) as served, outgoing.channel(served.target) as channel:
        await call(channel, "UnaryUnary")
    assert served.tokens == ["Bearer mine"]


def test_a_token_stands_in_one_place(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("canary")
    both = settings(TOKEN, {"CASCADA_SERVICE_TOKEN_FILE": str(path)})
    with pytest.raises(ConfigurationFileError, match="give one of them"):
        Outgoing.of_service(both)


@pytest.mark.parametrize("value", ["two words", "a\nb", "señal"])
def test_a_token_that_could_not_be_sent_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(ConfigurationFileError, match="CASCADA_TOKEN") as caught:
        Outgoing.of_command(settings({"CASCADA_TOKEN": value}))
    assert value not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff"])
def test_a_token_file_that_holds_none_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationFileError, match="CASCADA_SERVICE_TOKEN_FILE"):
        OwnToken("CASCADA_SERVICE_TOKEN", None, path)


async def test_a_token_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    outgoing = Outgoing.of_service(settings({"CASCADA_SERVICE_TOKEN_FILE": str(path)}))
    assert outgoing.token.current() == "one"
    async with kept_current(outgoing):
        path.write_text("second\n")
        async with asyncio.timeout(20):
            while outgoing.token.current() != "second":  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)
        path.unlink()
        await outgoing.token.reload()
    assert outgoing.token.current() == "second"


async def test_a_new_client_certificate_is_shown_and_no_call_fails(
    certificates: Certificates,
) -> None:
    environ = certificates.client(shows=True)
    outgoing = Outgoing.of_service(settings(environ))
    async with (
        serving(certificates, mutual=True) as served,
        outgoing.channel(served.target) as channel,
        kept_current(outgoing),
    ):
        await call(channel, "UnaryUnary")
        pair = certificates.renew("client")
        async with asyncio.timeout(20):
            while served.serials[-1].strip() != pair.certificate.strip():
                await call(channel, "UnaryUnary")


async def test_a_new_authority_is_trusted_and_the_old_one_no_longer(
    certificates: Certificates,
) -> None:
    outgoing = Outgoing.of_service(settings(certificates.client()))
    fresh = Authority(1)
    async with (
        serving(certificates) as served,
        outgoing.channel(served.target) as channel,
        kept_current(outgoing),
    ):
        await call(channel, "UnaryUnary")
        certificates.trust(certificates.authority, fresh)
        certificates.renew("server", fresh)
        await served.tls.reload()
        certificates.trust(fresh)
        with structlog.testing.capture_logs() as logs:
            async with asyncio.timeout(20):
                while not logs:
                    await call(channel, "UnaryUnary")
        assert [entry["event"] for entry in logs] == ["certificates for calls changed"]
        await call(channel, "UnaryUnary")


async def test_files_that_do_not_fit_change_nothing(certificates: Certificates) -> None:
    outgoing = Outgoing.of_service(settings(certificates.client(shows=True)))
    async with (
        serving(certificates, mutual=True) as served,
        outgoing.channel(served.target) as channel,
    ):
        certificates.path("client.pem").write_bytes(Authority(1).issue("client", ()).certificate)
        with structlog.testing.capture_logs() as logs:
            async with kept_current(outgoing), asyncio.timeout(20):
                while not logs:  # noqa: ASYNC110 # nothing tells
                    await asyncio.sleep(0.01)
        assert logs[0]["log_level"] == "error"
        await call(channel, "UnaryUnary")


async def test_the_name_of_the_server_can_be_given(certificates: Certificates) -> None:
    pair = certificates.authority.issue("server", ["query.internal"])
    certificates.path("server.pem").write_bytes(pair.certificate)
    certificates.path("server.key").write_bytes(pair.key)
    named = {**certificates.client(), "CASCADA_TLS_SERVER_NAME": "query.internal"}
    outgoing = Outgoing.of_service(settings(named))
    async with serving(certificates) as served, outgoing.channel(served.target) as channel:
        await call(channel, "UnaryUnary")


async def test_several_addresses_over_tls_need_the_name_of_their_certificates(
    certificates: Certificates,
) -> None:
    outgoing = Outgoing.of_service(settings(certificates.client()))
    with pytest.raises(ConfigurationFileError, match="CASCADA_TLS_SERVER_NAME: is needed"):
        outgoing.channel("ipv4:10.0.0.7:50052,10.0.0.8:50052")
    named = {**certificates.client(), "CASCADA_TLS_SERVER_NAME": "localhost"}
    async with serving(certificates) as served:
        port = served.server.port
        target = f"ipv4:127.0.0.1:{port},127.0.0.1:{port}"
        async with Outgoing.of_service(settings(named)).channel(target) as channel:
            served.server._health.set_serving()
            await call(channel, "UnaryUnary")
