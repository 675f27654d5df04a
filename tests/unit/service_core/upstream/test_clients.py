"""One pool for many keys: shared, bounded, never closed under a call, deaf to the environment."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from config_core.connection import Connection
from config_core.errors import CredentialMissingError
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from service_core.upstream.clients import ClientPool, Operation, SharedClient
from service_core.upstream.errors import UpstreamRejectedError
from service_core.upstream.exchange import JsonAnswer, Question, ask, ask_stream
from tests.upstream.behaviours import Answer, Raw, Redirect
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
    stream: bool,  # noqa: FBT001 # pytest passes by name
) -> None:
    for n in range(3):
        await _ask(clients, upstream.connection(provider, f"key-{n}"), stream=stream)
    assert len({received.connection for received in upstream.requests}) == 1


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


class _Counted:
    """A client that only knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class _Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "service_core.upstream.clients_openai.make", lambda *_: _Counted(), raising=True
    )


def _to(place: int) -> Connection:
    url = f"http://{place}"
    return Connection(ModelProvider.OPENAI, "", url, private=False, source=Source.FILE)


def _closed(client: SharedClient) -> bool:
    assert isinstance(client, _Counted)
    return client.closed


@pytest.mark.usefixtures("counted")
async def test_a_surplus_client_in_use_is_closed_only_with_its_last_lease() -> None:
    pool = ClientPool(max_clients=1)
    async with AsyncExitStack() as outer:
        first = await outer.enter_async_context(pool.lease(_to(1)))
        async with AsyncExitStack() as inner:
            assert await inner.enter_async_context(pool.lease(_to(1))) is first
            second = await inner.enter_async_context(pool.lease(_to(2)))
            assert not _closed(first)
        assert not _closed(first)
    assert _closed(first)
    assert not _closed(second)
    assert pool.stats.clients == 1


@pytest.mark.usefixtures("counted")
async def test_the_client_that_was_used_last_stays() -> None:
    pool = ClientPool(max_clients=2)
    made = []
    for place in (1, 2, 1, 3):
        async with pool.lease(_to(place)) as client:
            made.append(client)
    assert [_closed(client) for client in made] == [False, True, False, False]


@pytest.mark.usefixtures("counted")
async def test_an_idle_client_is_closed_after_its_time() -> None:
    clock = _Clock()
    pool = ClientPool(idle_seconds=60, clock=clock)
    async with pool.lease(_to(1)) as idle:
        pass
    clock.now = 59
    async with pool.lease(_to(2)):
        assert not _closed(idle)
    clock.now = 60
    async with pool.lease(_to(2)):
        assert _closed(idle)


@pytest.mark.usefixtures("counted")
async def test_a_long_call_does_not_make_its_client_idle() -> None:
    clock = _Clock()
    pool = ClientPool(idle_seconds=60, clock=clock)
    async with pool.lease(_to(1)) as busy:
        clock.now = 1000
        async with pool.lease(_to(2)):
            assert not _closed(busy)


@pytest.mark.usefixtures("counted")
async def test_closing_the_pool_waits_for_those_in_use() -> None:
    pool = ClientPool()
    async with pool.lease(_to(1)) as free:
        pass
    async with pool.lease(_to(2)) as busy:
        await pool.aclose()
        assert (_closed(free), _closed(busy)) == (True, False)
    assert _closed(busy)
    with pytest.raises(RuntimeError):
        async with pool.lease(_to(1)):
            pass


@pytest.mark.usefixtures("counted")
async def test_the_pool_knows_no_key(upstream: UpstreamServer) -> None:
    pool = ClientPool()
    async with pool.lease(upstream.connection(ModelProvider.OPENAI, "canary-key")):
        assert "canary" not in str(vars(pool))
