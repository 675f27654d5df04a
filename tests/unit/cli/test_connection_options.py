"""Commands over TLS, and as somebody: their options and the variables behind them."""

# nothing else runs in the loop

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.config.v1 import configuration_service_pb2 as pb
from cascada.config.v1 import configuration_service_pb2_grpc as pb_grpc
from typer.testing import Result

from cli.__main__ import COMMANDS
from cli.client import connect
from cli.exits import ExitCode
from cli.output import Output
from config_core.errors import ConfigurationFileError
from service_core.identity.tokens import digest_of
from tests.unit.cli.fake_services import CommandLine
from tests.unit.service_core.tls.certificates import Certificates

OPTIONS = ("--token-env", "--tls", "--ca", "--cert", "--key")
TOKEN = "canary-token"  # no real one


@dataclass
class Encrypted:
    """A service that takes mutual TLS alone, and notes who called."""

    certificates: Certificates
    port: int = 0
    seen: list[tuple[str | bytes | None, list[bytes]]] = field(default_factory=list)

    def ListCapabilities(self, _: Any, context: Any) -> pb.ListCapabilitiesResponse:  # noqa: N802
        metadata = dict(context.invocation_metadata())
        names = list(context.auth_context()["x509_common_name"])
        self.seen.append((metadata.get("authorization"), names))
        return pb.ListCapabilitiesResponse()

    def __getattr__(self, name: str) -> Any:
        if name[:1].isupper():
            return None
        raise AttributeError(name)


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Encrypted]:
    certificates = Certificates(tmp_path)
    read = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found: Any = Encrypted(certificates)
    server: Any = grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_ConfigurationServiceServicer_to_server(found, server)
    credentials = grpc.ssl_server_credentials(
        [(read["server.key"], read["server.pem"])],
        root_certificates=read["ca.pem"],
        require_client_auth=True,
    )
    found.port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield found
    server.stop(None).wait()


def ask(cascada: CommandLine, encrypted: Encrypted, *arguments: str) -> Result:
    target = f"localhost:{encrypted.port}"
    return cascada.bare("capabilities", "--json", "--target", target, *arguments)


def files(encrypted: Encrypted) -> list[str]:
    path = encrypted.certificates.path
    given = {"--ca": "ca.pem", "--cert": "client.pem", "--key": "client.key"}
    return [part for option, name in given.items() for part in (option, str(path(name)))]


def test_the_options_lead_over_mutual_tls_as_somebody(
    cascada: CommandLine, encrypted: Encrypted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", TOKEN)
    result = ask(cascada, encrypted, *files(encrypted), "--token-env", "MINE")
    assert result.exit_code == ExitCode.OK, result.output
    assert encrypted.seen == [(f"Bearer {TOKEN}", [b"client"])]


def test_so_do_the_variables(
    cascada: CommandLine, encrypted: Encrypted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in encrypted.certificates.client(shows=True).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CASCADA_TOKEN", TOKEN)
    assert ask(cascada, encrypted).exit_code == ExitCode.OK
    assert encrypted.seen == [(f"Bearer {TOKEN}", [b"client"])]


@pytest.mark.parametrize("left_out", ["--ca", "--cert"])
def test_without_what_the_server_wants_it_is_not_reached(
    left_out: str, cascada: CommandLine, encrypted: Encrypted
) -> None:
    given = files(encrypted)
    at = given.index(left_out)
    del given[at : at + (4 if left_out == "--cert" else 2)]
    result = ask(cascada, encrypted, *given, "--tls")
    assert result.exit_code == ExitCode.UNREACHABLE
    assert "TLS" in json.loads(result.stdout)["error"]["message"]
    assert not encrypted.seen


def test_a_token_never_leaves_unencrypted_for_another_machine(
    cascada: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_TOKEN", TOKEN)
    result = cascada.bare("capabilities", "--target", "192.0.2.1:1")
    assert result.exit_code == ExitCode.USAGE
    assert "CASCADA_TOKEN" in result.stderr
    assert TOKEN not in result.output


def test_over_tls_a_raw_key_may_leave(
    cascada: CommandLine, encrypted: Encrypted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "canary")
    keyed = ("--provider", "groq", "--chat-api-key-env", "MINE")
    refused = cascada.bare("ask", "q", *keyed, "--target", "192.0.2.1:1")
    assert refused.exit_code == ExitCode.REFUSED
    target = f"localhost:{encrypted.port}"
    sent = cascada.bare("ask", "q", *keyed, "--target", target, *files(encrypted))
    assert sent.exit_code == ExitCode.FAILED  # it went out, and the service has no such call


def test_a_variable_without_a_token_is_wrong_usage_and_its_name_is_not_repeated(
    cascada: CommandLine,
) -> None:
    result = cascada("capabilities", "--token-env", TOKEN)
    assert result.exit_code == ExitCode.USAGE
    assert "--token-env" in result.output
    assert TOKEN not in result.output


def test_a_file_that_is_wrong_is_a_usage_error(cascada: CommandLine) -> None:
    result = cascada("capabilities", "--ca", "/nonexistent/ca.pem")
    assert result.exit_code == ExitCode.USAGE
    assert "CASCADA_TLS_CA_FILE" in result.stderr


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_that_calls_has_the_options_and_no_other(
    path: str, cascada: CommandLine
) -> None:
    shown = cascada.bare(*path.split(), "--help").output
    for option in OPTIONS:
        assert (f"{option} " in shown) is COMMANDS[path].calls, option


@pytest.mark.parametrize("name", ["ask", "index", "search", "capabilities", "config explain"])
def test_these_commands_call(name: str) -> None:
    assert COMMANDS[name].calls


async def test_an_embedded_service_knows_the_command_where_identity_is_on(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    entry = {"sha256": digest_of("another"), "tenant": "acme", "roles": ["caller"]}
    path.write_text(json.dumps({"identity": {"tokens": {"web": entry}}}))  # a small file
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
        port = str(taken.getsockname()[1])
        environ = {
            "CASCADA_CONFIG_FILE": str(path),
            "CASCADA_DATA_DIR": str(tmp_path),
            "CASCADA_CHAT_PROVIDER": "openai",
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_AGENT_EXECUTION_PORT": port,
            # Of the services elsewhere, which these are not.
            "CASCADA_TLS_CERT_FILE": "/nonexistent/cert.pem",
            "CASCADA_SERVICE_TOKEN_FILE": "/nonexistent/token",
            "PATH": os.environ["PATH"],
        }
        async with connect("agent-execution", None, Output(), environ=environ) as client:
            stub = pb_grpc.ConfigurationServiceStub(client.channel)
            answer = await stub.ListCapabilities(pb.ListCapabilitiesRequest(), timeout=20)
            assert answer.providers
            async with grpc.aio.insecure_channel(client.target) as other:
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await pb_grpc.ConfigurationServiceStub(other).ListCapabilities(
                        pb.ListCapabilitiesRequest(), timeout=20
                    )
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_is_not_sent_in_the_open_by_connect_either() -> None:
    environ = {"CASCADA_TOKEN": TOKEN}
    with pytest.raises(ConfigurationFileError):
        async with connect("query", "192.0.2.1:1", Output(), environ=environ):
            pass
