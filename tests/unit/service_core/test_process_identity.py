"""A process's identity and TLS: what it needs, and how its own services meet."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cascada.config.v1 import model_configuration_pb2
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from pydantic import SecretStr

from config_core.errors import (
    ConfigurationFileError,
    PermissionDeniedError,
    Reason,
    UnauthenticatedError,
)
from config_core.forward import Forwarded
from config_core.identity import Role
from config_core.model_configuration import ModelConfiguration
from config_core.sources.request import Provenance
from service_core.identity import access
from service_core.process import Process, configure, open_process
from service_core.server import GrpcServer
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Context,
    add_probe,
    call,
    failure,
)
from tests.unit.service_core.running import PORTS, caught
from tests.unit.service_core.tls.certificates import Certificates


async def _silent(_: Context) -> AsyncIterator[embedding.EmbedRequest]:
    yield embedding.EmbedRequest()


def test_a_process_that_others_reach_needs_identity_and_tls() -> None:
    with pytest.raises(ConfigurationFileError, match="CASCADA_TLS_CERT_FILE"):
        Process.of(*configure({**PORTS, "CASCADA_HOST": "0.0.0.0"}))  # noqa: S104 # it is refused


async def test_where_others_reach_it_nobody_gets_in_when_the_file_forgets_who_may(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cascada.json"
    entry = {"sha256": "a" * 64, "tenant": "acme", "roles": ["caller"]}
    path.write_text(json.dumps({"identity": {"tokens": {"web": entry}}}), encoding="utf-8")
    environ = {**PORTS, **Certificates(tmp_path).server(), "CASCADA_CONFIG_FILE": str(path)}
    settings, snapshots = configure({**environ, "CASCADA_HOST": "0.0.0.0"})  # noqa: S104 # never bound
    guard = Process.of(settings, snapshots).guard
    path.write_text("{}", encoding="utf-8")
    assert snapshots.reload()
    stranger: Any = SimpleNamespace(invocation_metadata=lambda: (), auth_context=dict)
    with pytest.raises(UnauthenticatedError):
        await guard.identify("/cascada.query.v1.QueryService/Query", stranger)


@asynccontextmanager
async def _served(folder: Path, **environ: str) -> AsyncIterator[tuple[Process, GrpcServer]]:
    """Several services' process with one server, where identity is on."""
    path = folder / "cascada.json"
    path.write_text('{"identity": {}}', encoding="utf-8")  # a small file
    settings, snapshots = configure({**PORTS, "CASCADA_CONFIG_FILE": str(path), **environ})
    async with AsyncExitStack() as stack:
        opened = await open_process(settings, snapshots, stack, several=True)
        server = opened.server("query", 0)
        server.add(SERVICE, add_probe, _silent)
        await server.start()
        stack.push_async_callback(server.stop, 0)
        yield opened, server


@pytest.fixture
def _probe_is_open_to_services(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {f"/{SERVICE}/{kind}": frozenset({Role.SERVICE}) for kind in KINDS}
    monkeypatch.setattr(access, "ROLES", table)


@pytest.mark.usefixtures("_probe_is_open_to_services")
async def test_services_of_one_process_know_one_another_and_nobody_else_knows_how(
    tmp_path: Path,
) -> None:
    async with _served(tmp_path) as (opened, server):
        target = f"127.0.0.1:{server.port}"
        inside = replace(opened, own={target: server})
        async with inside.channel(target) as channel:
            await call(channel, "UnaryUnary")
        async with opened.channel(target) as channel:
            error = await failure(channel)
        assert caught(error).code_reason is Reason.UNAUTHENTICATED
    assert opened.guard.own_token not in repr(opened)


@pytest.mark.usefixtures("_probe_is_open_to_services")
async def test_with_tls_they_need_no_certificate_for_one_another(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with _served(tmp_path, **certificates.server()) as (opened, server):
        target = f"192.0.2.1:{server.port}"  # what its certificate is not for
        inside = replace(opened, own={target: server})
        async with inside.channel(target) as channel:
            await call(channel, "UnaryUnary")
        keys = ModelConfiguration(chat_api_key=SecretStr("canary"))
        assert inside.next_service("query", target).pack(Forwarded(keys, Provenance()))


async def test_a_folder_for_sockets_has_one_for_each_service(tmp_path: Path) -> None:
    settings, snapshots = configure({**PORTS, "CASCADA_SOCKET_DIR": str(tmp_path)})
    server = Process.of(settings, snapshots).server("query", 0)
    assert server.socket_target == f"unix:{tmp_path / 'query.sock'}"


async def test_keys_enter_a_server_with_tls_from_anywhere(tmp_path: Path) -> None:
    key = model_configuration_pb2.ModelConfiguration(chat_api_key="canary")
    elsewhere: Any = SimpleNamespace(peer=lambda: "ipv4:192.0.2.1:40000")
    settings, snapshots = configure({**PORTS, **Certificates(tmp_path).server()})
    Process.of(settings, snapshots).peers.check_keys(key, None, elsewhere)
    with pytest.raises(PermissionDeniedError):
        Process.of(*configure(PORTS)).peers.check_keys(key, None, elsewhere)
