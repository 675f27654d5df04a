"""One good vector a text, in order, or an error that says which text has none."""

import asyncio
import json
import struct
from collections.abc import Mapping

import pytest

from config_core.model_configuration import ModelProvider
from embedding.providers.mistral import MistralEmbedding
from embedding.providers.openai import OpenAIEmbedding
from embedding.providers.port import EmbedCall, InputKind
from embedding.providers.wire_embedding import WireEmbedding
from service_core.upstream.clients import ClientPool, Transport
from service_core.upstream.errors import (
    ContextTooLongError,
    RateLimitedError,
    UpstreamFailedError,
)
from service_core.usage import Usage
from tests.upstream.behaviours import (
    Broken,
    Raw,
    Reset,
    Silence,
    Status,
)
from tests.upstream.exchange import Behaviour
from tests.upstream.faults import VECTOR_FAULTS, Vectors
from tests.upstream.fixtures import clients, upstream
from tests.upstream.formats import vector
from tests.upstream.misframed import WrongType
from tests.upstream.server import UpstreamServer

__all__ = ["clients", "upstream"]

TEXTS = ("hola", "你好", "hello 🌍")
ADAPTERS: Mapping[ModelProvider, type[WireEmbedding]] = {
    ModelProvider.OPENAI: OpenAIEmbedding,
    ModelProvider.MISTRAL: MistralEmbedding,
}


@pytest.fixture(params=ADAPTERS, ids=str)
def provider(request: pytest.FixtureRequest) -> ModelProvider:
    chosen: ModelProvider = request.param
    return chosen


@pytest.fixture
def embedding(provider: ModelProvider, clients: ClientPool) -> WireEmbedding:
    return ADAPTERS[provider](clients)


def _call(
    upstream: UpstreamServer, provider: ModelProvider, dimensions: int | None = None
) -> EmbedCall:
    connection = upstream.connection(provider)
    return EmbedCall(connection, "some-model", TEXTS, InputKind.PASSAGE, dimensions)


def _packed(text: str, dimensions: int = 8) -> bytes:
    return struct.pack(f"<{dimensions}f", *vector(text, dimensions))


async def test_vectors_come_in_the_order_of_the_texts(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    result = await embedding.embed(_call(upstream, provider))
    assert list(result.vectors) == [_packed(text) for text in TEXTS]
    assert result.usage == Usage(input_tokens=5)
    assert (result.model, result.request_id) == ("some-model", "req-42")


async def test_vectors_are_put_in_order_by_their_index(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    upstream.default = Vectors(lambda data: data.reverse())
    result = await embedding.embed(_call(upstream, provider))
    assert list(result.vectors) == [_packed(text) for text in TEXTS]


async def test_numbers_are_taken_where_base64_was_asked_for(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    upstream.default = Vectors(lambda data: data, floats=True)
    result = await embedding.embed(_call(upstream, provider))
    assert list(result.vectors) == [_packed(text) for text in TEXTS]


@pytest.mark.parametrize("dimensions", [None, 4])
async def test_the_request_is_sent_as_the_provider_wants_it(
    embedding: WireEmbedding,
    provider: ModelProvider,
    upstream: UpstreamServer,
    dimensions: int | None,
) -> None:
    result = await embedding.embed(_call(upstream, provider, dimensions))
    length, texts = ("dimensions", "input"), list(TEXTS)
    expected = {"model": "some-model", "input": texts, "encoding_format": "base64"}
    if provider is ModelProvider.MISTRAL:
        length = ("output_dimension", "input")
        expected["encoding_format"] = "float"
    if dimensions is not None:
        expected[length[0]] = dimensions  # type: ignore[assignment]
        assert result.vectors[0] == _packed(TEXTS[0], dimensions)
    assert upstream.requests[0].body == expected


@pytest.mark.parametrize("name", VECTOR_FAULTS)
async def test_vectors_that_are_not_good_are_refused(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer, name: str
) -> None:
    upstream.default = VECTOR_FAULTS[name]
    with pytest.raises(UpstreamFailedError):
        await embedding.embed(_call(upstream, provider))


@pytest.mark.parametrize(
    "name", ["a vector is short", "a vector is of zeros", "NaN in a vector", "a vector is null"]
)
async def test_the_error_names_the_text(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer, name: str
) -> None:
    upstream.default = VECTOR_FAULTS[name]
    with pytest.raises(UpstreamFailedError, match="text 2"):
        await embedding.embed(_call(upstream, provider))


@pytest.mark.parametrize("index", [None, "1", 1.0, True, "canary-9f8e7d6c5b4a", ["canary-9f8e"]])
async def test_an_index_that_is_no_number_is_refused_and_not_repeated(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer, index: object
) -> None:
    upstream.default = Vectors(lambda data: data[-1].update(index=index))
    with pytest.raises(UpstreamFailedError, match="whose index is no number") as caught:
        await embedding.embed(_call(upstream, provider))
    assert "canary" not in str(caught.value)


async def test_a_count_of_tokens_that_can_not_be_is_none(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    data = [{"index": place, "embedding": [1.0]} for place in range(len(TEXTS))]
    body = {"data": data, "usage": {"prompt_tokens": 2**31}}
    upstream.default = Raw(json.dumps(body).encode())
    assert (await embedding.embed(_call(upstream, provider))).usage == Usage(0, 0)


async def test_vectors_of_another_length_than_wanted_are_refused(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    def ignore(data: list[dict[str, object]]) -> None:
        for text, item in zip(TEXTS, data, strict=True):
            item["embedding"] = vector(text)

    upstream.default = Vectors(ignore)
    with pytest.raises(UpstreamFailedError, match="length 8 instead of 4"):
        await embedding.embed(_call(upstream, provider, 4))


@pytest.mark.parametrize(
    "behaviour",
    [
        Reset(),
        Status(500),
        Broken("reset"),
        Broken("end"),
        Broken("malformed"),
        Broken("error"),
        WrongType(),
        Raw(b"{}"),
        Raw(b'{"data": [1, 2, 3]}'),
    ],
    ids=str,
)
async def test_a_broken_answer_is_a_failure_without_an_sdk_behind_it(
    embedding: WireEmbedding,
    provider: ModelProvider,
    upstream: UpstreamServer,
    behaviour: Behaviour,
) -> None:
    upstream.default = behaviour
    with pytest.raises(UpstreamFailedError) as caught:
        await embedding.embed(_call(upstream, provider))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


async def test_a_rate_limit_says_when(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    upstream.default = Status(429, headers={"Retry-After": "2"})
    with pytest.raises(RateLimitedError) as caught:
        await embedding.embed(_call(upstream, provider))
    assert caught.value.retry_after == 2.0


async def test_a_text_that_is_too_long_is_told_apart(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    upstream.default = Status(400, "This model's maximum context length is 8192 tokens.")
    with pytest.raises(ContextTooLongError):
        await embedding.embed(_call(upstream, provider))


async def test_leaving_a_call_closes_the_request_upstream(
    embedding: WireEmbedding, provider: ModelProvider, upstream: UpstreamServer
) -> None:
    upstream.default = Silence()
    task = asyncio.create_task(embedding.embed(_call(upstream, provider)))
    received = await upstream.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(2):
        await received.over.wait()
    assert received.left


async def test_the_lean_client_sends_what_the_sdks_send(
    upstream: UpstreamServer, provider: ModelProvider
) -> None:
    for transport in Transport:
        pool = ClientPool(transport=transport)
        await ADAPTERS[provider](pool).embed(_call(upstream, provider, 256))
        await pool.aclose()
    lean, sdk = upstream.requests
    assert (lean.path, lean.key, lean.body) == (sdk.path, sdk.key, sdk.body)
