"""One pool for many keys: shared, bounded, never closed under a call, deaf to the environment."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest

from config_core.connection import Connection
from config_core.errors import CredentialMissingError
from config_core.model_configuration import ModelProvider
from service_core.upstream.clients import ClientPool, Operation
from service_core.upstream.errors import UpstreamRejectedError
from service_core.upstream.exchange import JsonAnswer, Question, ask, ask_stream
from tests.upstream.behaviours import Answer, Broken, Raw, Redirect
from tests.upstream.server import UpstreamServer

PROVIDERS = (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
BODY: Mapping[str, Any] = {"model": "m-1", "messages": [{"role": "user", "content": "Hi"}]}
each_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=str)


async def _ask(clients: ClientPool, connection: Connection, *, stream: bool = False) -> None:
    question = Question(connection, "m-1", Operation.CHAT, BODY)
    if stream:
        assert [chunk async for chunk in ask_stream(clients, question)]
    else:
        assert isinstance(await ask(clients, question), JsonAnswer)


@each_provider
async def test_interleaved_callers_share_a_client_and_keep_their_keys(
    clients: ClientPool, upstream: UpstreamServer, provider: ModelProvider
) -> None:
    async def caller(key: str) -> None:
        for stream in (False, True, False):
            await _ask(clients, upstream.connection(provider, key), stream=stream)

    upstream.default = Answer(delay=0.01)
    await asyncio.gather(*(caller(f"key-of-caller-{n}") for n in range(4)))
    keys = [received.key for received in upstream.requests]
    assert sorted(keys) == sorted(f"key-of-caller-{n}" for n in range(4) for _ in range(3))
    assert clients.stats.made == 1


@each_provider
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_connections_are_used_again(
    clients: ClientPool,
    upstream: UpstreamServer,
    provider: ModelProvider,
    *,
    stream: bool,
) -> None:
    for n in range(3):
        await _ask(clients, upstream.connection(provider, f"key-{n}"), stream=stream)
    assert len({received.connection for received in upstream.requests}) == 1


@each_provider
async def test_a_response_that_nobody_reads_is_closed(
    clients: ClientPool, upstream: UpstreamServer, provider: ModelProvider
) -> None:
    upstream.default = Broken("stall", after=1)
    async with (
        clients.lease(upstream.connection(provider)) as client,
        client.post(Operation.CHAT, BODY, key="k", stream=True) as response,
    ):
        assert response.status_code == 200
    received = await upstream.received()
    async with asyncio.timeout(2):
        await received.over.wait()
    assert received.left


@each_provider
async def test_a_connection_without_a_key_sends_no_real_one(
    clients: ClientPool,
    upstream: UpstreamServer,
    provider: ModelProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"{provider.name}_API_KEY", "canary-of-the-environment")
    await _ask(clients, upstream.connection(provider, None))
    assert upstream.requests[0].key == "none"


async def test_a_missing_key_is_noticed_before_anything_is_sent(
    clients: ClientPool, upstream: UpstreamServer
) -> None:
    connection = upstream.connection(ModelProvider.GROQ, None)
    with pytest.raises(CredentialMissingError):
        await _ask(clients, replace(connection, keyless=False))
    assert upstream.requests == []


ENVIRONMENT = {
    "OPENAI_API_KEY": "canary-key",
    "OPENAI_ADMIN_KEY": "canary-admin",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/canary",
    "OPENAI_ORG_ID": "canary-organization",
    "OPENAI_PROJECT_ID": "canary-project",
    "OPENAI_CUSTOM_HEADERS": "X-Canary: canary\nAuthorization: Bearer canary",
    "GROQ_API_KEY": "canary-key",
    "GROQ_BASE_URL": "http://127.0.0.1:9/canary",
    "GROQ_CUSTOM_HEADERS": "X-Canary: canary\nauthorization: Bearer canary",
    "MISTRAL_API_KEY": "canary-key",
    "MISTRAL_SA_TOKEN_PATH": "/canary",
    "MISTRAL_SDK_TELEMETRY": "dedicated",
    "MISTRAL_DEBUG": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


@each_provider
async def test_the_environment_of_the_sdks_changes_nothing(
    clients: ClientPool,
    upstream: UpstreamServer,
    provider: ModelProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    await _ask(clients, upstream.connection(provider, "the-right-key"))
    received = upstream.requests[0]
    assert received.key == "the-right-key"
    assert "canary" not in str(received.headers)


@each_provider
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_only_connecting_has_a_time_limit_here(
    clients: ClientPool,
    upstream: UpstreamServer,
    provider: ModelProvider,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stream: bool,
) -> None:
    limits: list[object] = []

    def spy(kind: type[httpx.AsyncClient] | type[httpx2.AsyncClient]) -> None:
        send = kind.send

        async def noted(self: Any, request: Any, **rest: Any) -> Any:
            limits.append(request.extensions["timeout"])
            return await send(self, request, **rest)

        monkeypatch.setattr(kind, "send", noted)

    request = aiohttp.ClientSession._request

    async def noted(self: aiohttp.ClientSession, *arguments: Any, **rest: Any) -> Any:
        limits.append(rest.get("timeout", self.timeout))
        return await request(self, *arguments, **rest)

    spy(httpx.AsyncClient)
    spy(httpx2.AsyncClient)
    monkeypatch.setattr(aiohttp.ClientSession, "_request", noted)
    await _ask(clients, upstream.connection(provider), stream=stream)
    assert limits in (
        [{"connect": 10.0, "read": None, "write": None, "pool": None}],
        [aiohttp.ClientTimeout(total=None, sock_connect=10.0)],
    )


@each_provider
async def test_nothing_is_retried_by_the_sdk(
    clients: ClientPool, upstream: UpstreamServer, provider: ModelProvider
) -> None:
    upstream.default = Raw(b"{}", 400, headers={"x-should-retry": "true"})
    for stream in (False, True):
        with pytest.raises(UpstreamRejectedError):
            await _ask(clients, upstream.connection(provider), stream=stream)
    assert len(upstream.requests) == 2


@each_provider
async def test_a_redirect_is_not_followed(
    clients: ClientPool, upstream: UpstreamServer, provider: ModelProvider
) -> None:
    upstream.default = Redirect(upstream.url(provider) + "/chat/completions")
    for stream in (False, True):
        with pytest.raises(UpstreamRejectedError, match="redirect"):
            await _ask(clients, upstream.connection(provider), stream=stream)
    assert len(upstream.requests) == 2


@each_provider
async def test_a_cookie_for_one_caller_is_not_sent_by_the_next(
    clients: ClientPool, upstream: UpstreamServer, provider: ModelProvider
) -> None:
    upstream.script(Raw(b'{"choices": []}', headers={"Set-Cookie": "session=canary; Path=/"}))
    for _ in range(2):
        await _ask(clients, upstream.connection(provider))
    assert "cookie" not in upstream.requests[1].headers
