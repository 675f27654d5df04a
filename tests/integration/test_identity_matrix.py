"""Every RPC of every service, and everybody who must not get in: none reaches a handler.

The three services are the real ones, over TLS; a spy stands between each server and its servicer.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor

import agent_execution.app
import embedding.app
import query.app
from config_core.errors import Reason
from config_core.identity import Role
from service_core.channel import create_channel
from service_core.identity.access import ROLES
from service_core.identity.tokens import digest_of
from service_core.process import Build, Process, configure
from service_core.request_context import context_of
from service_core.server import GrpcServer
from service_core.tls import ClientTls
from tests.unit.service_core.identity.issuing import AUDIENCE, ISSUER, SigningKey, key_set
from tests.unit.service_core.running import PORTS, caught
from tests.unit.service_core.tls.certificates import Certificates, settings

# One stack for all of them, and so one loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILDS: Mapping[str, Build] = {
    "embedding": embedding.app.build,
    "query": query.app.build,
    "agent-execution": agent_execution.app.build,
}
SERVED: Mapping[str, tuple[str, ...]] = {
    "embedding": ("cascada.embedding.v1.EmbeddingService",),
    "query": ("cascada.query.v1.QueryService",),
    "agent-execution": ("cascada.agent_execution.v1.AgentExecutionService",),
}
COMMON = "cascada.config.v1.ConfigurationService"

KEY = SigningKey()


def token_of(role: Role) -> str:
    return f"cascada_{role}"


def methods(service: str) -> Iterator[MethodDescriptor]:
    found = descriptor_pool.Default().FindServiceByName(service)
    yield from found.methods


RPCS = [
    pytest.param(server, method, id=f"{server}-{method.name}")
    for server, own in SERVED.items()
    for service in (*own, COMMON)
    for method in methods(service)
]


class Spy:
    """Stands in a servicer's place and notes which of its methods are called."""

    def __init__(self, servicer: object, entered: list[str]) -> None:
        self._servicer = servicer
        self._entered = entered

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._servicer, name)

        def noted(request: object, context: object) -> Any:
            self._entered.append(name)
            return method(request, context)

        return noted


@dataclass
class Stack:
    """The services that run."""

    channels: Mapping[str, grpc.aio.Channel]
    served: Mapping[str, tuple[str, ...]]
    entered: list[str]

    async def call(
        self, server: str, method: MethodDescriptor, token: str | None, tenant: str = ""
    ) -> grpc.aio.AioRpcError | None:
        """Call with a request that says nothing but its tenant."""
        request: Any = message_factory.GetMessageClass(method.input_type)()
        context = context_of(request)
        assert context is not None
        context.tenant_id = tenant
        kind = "_".join(
            "stream" if streams else "unary"
            for streams in (method.client_streaming, method.server_streaming)
        )
        made = getattr(self.channels[server], kind)(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=type(request).SerializeToString,
        )
        metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        sent = iter([request]) if method.client_streaming else request
        running = made(sent, metadata=metadata, timeout=20)
        try:
            if method.server_streaming:
                _ = [answer async for answer in running]
            else:
                await running
        except grpc.aio.AioRpcError as error:
            return error
        return None


def _configuration(folder: Path) -> str:
    (folder / "keys.json").write_text(key_set(KEY), encoding="utf-8")
    issuer = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "jwks": {"file": str(folder / "keys.json")},
        "tenant_claim": "org",
        "roles_claim": "roles",
        "role_names": {str(role): str(role) for role in Role},
    }
    tokens = {
        str(role): {"sha256": digest_of(token_of(role)), "tenant": "acme", "roles": [str(role)]}
        for role in Role
    }
    path = folder / "cascada.json"
    document = {"identity": {"tokens": tokens, "issuers": {"corp": issuer}}}
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("matrix")
    certificates = Certificates(folder)
    environ = {
        **PORTS,
        **certificates.server(),
        **certificates.client(),
        "CASCADA_CONFIG_FILE": _configuration(folder),
        "CASCADA_DATA_DIR": str(folder),
        "CASCADA_SERVICE_TOKEN": token_of(Role.SERVICE),
        # So that no model has to be loaded.
        "CASCADA_CHAT_PROVIDER": "openai",
        "CASCADA_EMBEDDING_PROVIDER": "openai",
    }
    trust = ClientTls.of(settings(certificates.client()))
    assert trust is not None
    entered: list[str] = []
    channels: dict[str, grpc.aio.Channel] = {}
    served: dict[str, tuple[str, ...]] = {}
    add = GrpcServer.add

    def spied(self: GrpcServer, service: str, add_servicer: Any, servicer: object) -> None:
        add(self, service, add_servicer, Spy(servicer, entered))

    async with AsyncExitStack() as resources:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GrpcServer, "add", spied)
            for name, build in BUILDS.items():
                server = await build(Process.of(*configure(environ)), resources)
                resources.push_async_callback(server.stop, 0)
                target = f"localhost:{server.port}"
                environ[f"CASCADA_{name.upper()}_TARGET"] = target
                channel = create_channel(target, tls=trust.credentials())
                channels[name] = await resources.enter_async_context(channel)
                served[name] = server.services
        yield Stack(channels, served, entered)


@pytest.fixture
def entered(stack: Stack) -> list[str]:
    """What has reached a handler since the test began."""
    stack.entered.clear()
    return stack.entered


async def test_the_matrix_has_every_rpc_that_is_served(stack: Stack) -> None:
    assert {name: set(services) for name, services in stack.served.items()} == {
        name: {*services, COMMON} for name, services in SERVED.items()
    }


def is_refused(
    error: grpc.aio.AioRpcError | None, reason: Reason, code: grpc.StatusCode, entered: list[str]
) -> None:
    assert error is not None
    assert error.code() is code
    assert caught(error).code_reason is reason
    assert not entered


NOBODY: Mapping[str, str | None] = {
    "no identity": None,
    "wrong token": "cascada_nobody",
    "expired JWT": KEY.token(exp=1, roles=[str(role) for role in Role]),
    "JWT of another key": SigningKey().token(roles=[str(role) for role in Role]),
}


@pytest.mark.parametrize("token", NOBODY.values(), ids=NOBODY)
@pytest.mark.parametrize(("server", "method"), RPCS)
async def test_who_is_not_known_is_unauthenticated(
    server: str, method: MethodDescriptor, token: str | None, stack: Stack, entered: list[str]
) -> None:
    error = await stack.call(server, method, token)
    is_refused(error, Reason.UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED, entered)


def roles_of(method: MethodDescriptor) -> frozenset[Role]:
    return ROLES[f"/{method.containing_service.full_name}/{method.name}"]


@pytest.mark.parametrize(("server", "method"), RPCS)
async def test_who_names_another_tenant_is_denied(
    server: str, method: MethodDescriptor, stack: Stack, entered: list[str]
) -> None:
    for role in roles_of(method) - {Role.SERVICE}:
        for token in (token_of(role), KEY.token(roles=[str(role)])):
            error = await stack.call(server, method, token, tenant="globex")
            is_refused(error, Reason.PERMISSION_DENIED, grpc.StatusCode.PERMISSION_DENIED, entered)


@pytest.mark.parametrize(("server", "method"), RPCS)
async def test_who_has_another_role_is_denied(
    server: str, method: MethodDescriptor, stack: Stack, entered: list[str]
) -> None:
    for role in frozenset(Role) - roles_of(method):
        for token in (token_of(role), KEY.token(roles=[str(role)])):
            error = await stack.call(server, method, token)
            is_refused(error, Reason.PERMISSION_DENIED, grpc.StatusCode.PERMISSION_DENIED, entered)


@pytest.mark.parametrize(("server", "method"), RPCS)
async def test_who_may_reaches_the_handler(
    server: str, method: MethodDescriptor, stack: Stack, entered: list[str]
) -> None:
    refusals = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    for role in roles_of(method):
        for token in (token_of(role), KEY.token(roles=[str(role)])):
            error = await stack.call(server, method, token, tenant="acme")
            assert error is None or error.code() not in refusals
            assert entered[0] == method.name  # and then the next service, if it calls one
            entered.clear()
