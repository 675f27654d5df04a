"""A refusal's status stands, whatever becomes of its body."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from config_core.model_configuration import ModelProvider
from service_core.upstream.clients import ClientPool, Operation
from service_core.upstream.clients_http import LimitedBody, refusals_as
from service_core.upstream.errors import (
    CredentialRejectedError,
    RateLimitedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.upstream.exchange import Question, ask, ask_stream
from tests.upstream.misframed import CutRefusal
from tests.upstream.server import UpstreamServer

PROVIDERS = (ModelProvider.OPENAI, ModelProvider.GROQ, ModelProvider.MISTRAL)
BODY: Mapping[str, Any] = {"model": "m-1", "messages": [{"role": "user", "content": "Hi"}]}


async def _refused(
    clients: ClientPool, upstream: UpstreamServer, provider: ModelProvider, *, stream: bool = False
) -> UpstreamError:
    question = Question(upstream.connection(provider), "m-1", Operation.CHAT, BODY)
    with pytest.raises(UpstreamError) as caught:  # noqa: PT012 # both kinds of call
        if stream:
            async for _ in ask_stream(clients, question):
                pass
        else:
            await ask(clients, question)
    return caught.value


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("then", ["end", "stall", "endless"])
@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
async def test_a_refused_key_is_one_however_its_body_ends(
    clients: ClientPool,
    upstream: UpstreamServer,
    provider: ModelProvider,
    monkeypatch: pytest.MonkeyPatch,
    *,
    then: str,
    stream: bool,
) -> None:
    for module in ("exchange", "clients_http"):
        monkeypatch.setattr(f"service_core.upstream.{module}.REFUSAL_SECONDS", 0.1)
    upstream.default = CutRefusal(401, then)
    error = await _refused(clients, upstream, provider, stream=stream)
    assert isinstance(error, CredentialRejectedError)
    assert not error.retryable


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, RateLimitedError), (503, UpstreamFailedError), (400, UpstreamRejectedError)],
)
@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
async def test_a_body_that_is_cut_takes_neither_status_nor_wait(
    clients: ClientPool,
    upstream: UpstreamServer,
    provider: ModelProvider,
    status: int,
    kind: type[UpstreamError],
) -> None:
    upstream.default = CutRefusal(status, "end", {"Retry-After": "7"})
    error = await _refused(clients, upstream, provider)
    assert type(error) is kind
    assert error.status == status
    assert error.retry_after == (None if status == 400 else 7.0)


class _Endless(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000


class _Limited(LimitedBody, httpx2.AsyncByteStream):
    pass


@pytest.mark.parametrize(
    ("headers", "most"), [({}, 1024 * 1024), ({"content-encoding": "gzip"}, 8 * 1024)]
)
async def test_an_sdk_reads_so_much_of_a_refusal(headers: dict[str, str], most: int) -> None:
    response = httpx2.Response(400, headers=headers, stream=_Endless())
    (hook,) = refusals_as(_Limited)["response"]
    await hook(response)
    assert isinstance(response.stream, _Limited)
    assert sum([len(piece) async for piece in response.stream]) == most
