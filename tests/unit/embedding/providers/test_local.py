import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from config_core.connection import Connection
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from embedding.providers.local import SMALL_CALL_CHARACTERS, LocalEmbeddingProvider
from embedding.providers.local_engine import DIMENSIONS, MODEL, EngineState, LocalEngine
from embedding.providers.port import EmbedCall, EmbeddingProvider, InputKind
from service_core.upstream.errors import (
    ContextTooLongError,
    ModelNotFoundError,
    UpstreamRejectedError,
)

CONNECTION = Connection(ModelProvider.LOCAL, "", "", private=True, source=Source.DEFAULT)
LONG = "x" * 300
"""Fills a slice of its own; four of them are a batch rather than a small call."""


def _call(
    texts: Sequence[str],
    kind: InputKind = InputKind.PASSAGE,
    model: str = MODEL,
    dimensions: int | None = None,
) -> EmbedCall:
    return EmbedCall(CONNECTION, model, texts, kind, dimensions)


class _Encoder:
    """Notes what it embeds; holds texts that begin with the letter `held` until told to go on."""

    def __init__(self, held: str = "-") -> None:
        self.held = held
        self.holds = threading.Event()
        self.go_on = threading.Event()
        self.slices: list[list[str]] = []

    def embed(self, texts: list[str], kind: InputKind, threads: int) -> NDArray[np.float32]:
        del kind, threads
        self.slices.append(texts)
        if texts[0].startswith(self.held):
            self.holds.set()
            assert self.go_on.wait(30), "nobody let the encoder go on"
        rows = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        rows[:, 0] = 1.0
        return rows

    def count_tokens(self, text: str, kind: InputKind) -> int:
        del kind
        return len(text)


def _provider(encoder: _Encoder) -> LocalEmbeddingProvider:
    return LocalEmbeddingProvider(LocalEngine(lambda: encoder))


@pytest.fixture
async def local() -> AsyncIterator[LocalEmbeddingProvider]:
    provider = LocalEmbeddingProvider()
    yield provider
    await provider.aclose()


async def test_it_is_an_embedding_provider_with_usage_and_model(
    local: LocalEmbeddingProvider,
) -> None:
    provider: EmbeddingProvider = local
    texts = ["La capital de Francia es París.", "Bread needs flour."]
    result = await provider.embed(_call(texts))
    assert [len(vector) for vector in result.vectors] == [4 * DIMENSIONS] * 2
    assert result.usage.input_tokens == sum(map(local.count_tokens, texts))
    assert result.model == MODEL


async def test_a_batch_of_many_slices_gives_each_text_its_own_vector(
    local: LocalEmbeddingProvider,
) -> None:
    texts = [f"Document {number}: {word}" for number, word in enumerate(["sol", "mar"] * 10)]
    together = (await local.embed(_call(texts))).vectors
    for place in (0, 9, 19):
        assert together[place] == (await local.embed(_call([texts[place]]))).vectors[0]


async def test_an_over_long_text_is_named_with_its_tokens_and_the_limit(
    local: LocalEmbeddingProvider,
) -> None:
    texts = ["short", "palabra " * 700, "short"]
    with pytest.raises(ContextTooLongError) as caught:
        await local.embed(_call(texts))
    tokens = local.count_tokens(texts[1])
    assert tokens > 700
    assert caught.value.metadata == {
        "provider": "local",
        "index": "1",
        "tokens": str(tokens),
        "limit": "512",
    }


async def test_an_over_long_text_is_found_before_anything_is_embedded() -> None:
    encoder = _Encoder()
    provider = _provider(encoder)
    with pytest.raises(ContextTooLongError):
        await provider.embed(_call(["a"] * 200 + ["b" * 513]))
    await provider.aclose()
    assert encoder.slices == []


async def test_another_model_is_not_found_and_the_one_there_is_is_named(
    local: LocalEmbeddingProvider,
) -> None:
    with pytest.raises(ModelNotFoundError, match=MODEL):
        await local.embed(_call(["hello"], model="text-embedding-3-small"))
    assert local.state is EngineState.NOT_LOADED


async def test_other_dimensions_are_refused(local: LocalEmbeddingProvider) -> None:
    with pytest.raises(UpstreamRejectedError, match="384"):
        await local.embed(_call(["hello"], dimensions=256))


@pytest.mark.parametrize("blank", ["", " \n", "\0\0", "\u200b"])
async def test_a_text_with_nothing_in_it_is_named_and_gets_no_vector(
    local: LocalEmbeddingProvider, blank: str
) -> None:
    with pytest.raises(UpstreamRejectedError) as caught:
        await local.embed(_call(["hello", blank]))
    assert caught.value.metadata["index"] == "1"


async def test_load_makes_the_model_ready_before_the_first_call(
    local: LocalEmbeddingProvider,
) -> None:
    await local.load()
    assert local.state is EngineState.READY


def test_four_long_texts_are_no_small_call() -> None:
    assert 4 * len(LONG) > SMALL_CALL_CHARACTERS


async def test_a_query_ends_while_a_batch_is_in_progress() -> None:
    encoder = _Encoder(held="x")
    provider = _provider(encoder)
    batch = asyncio.create_task(provider.embed(_call([LONG] * 4)))
    await asyncio.to_thread(encoder.holds.wait, 30)
    await provider.embed(_call(["¿Dónde?"], InputKind.QUERY))
    assert not batch.done()
    encoder.go_on.set()
    await batch
    await provider.aclose()


async def test_a_query_overtakes_a_batch_on_the_real_model(local: LocalEmbeddingProvider) -> None:
    ended: list[str] = []

    async def run(name: str, call: EmbedCall) -> None:
        await local.embed(call)
        ended.append(name)

    await local.load()
    passage = "El Sena cruza París de este a oeste y desemboca en el canal de la Mancha. " * 5
    batch = asyncio.create_task(run("batch", _call([passage] * 8)))
    await asyncio.sleep(0)
    await run("query", _call(["¿Qué río cruza París?"], InputKind.QUERY))
    await batch
    assert ended == ["query", "batch"]


async def test_two_batches_take_turns() -> None:
    encoder = _Encoder()
    provider = _provider(encoder)
    a, b = "a" * 300, "b" * 300
    await asyncio.gather(provider.embed(_call([a] * 4)), provider.embed(_call([b] * 4)))
    await provider.aclose()
    assert "".join(texts[0][0] for texts in encoder.slices) == "abababab"


async def test_a_cancelled_batch_embeds_no_further_slice() -> None:
    encoder = _Encoder(held="x")
    provider = _provider(encoder)
    batch = asyncio.create_task(provider.embed(_call([LONG] * 50)))
    await asyncio.to_thread(encoder.holds.wait, 30)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    encoder.go_on.set()
    await provider.embed(_call(["y" * 300] * 4))
    await provider.aclose()
    assert [texts[0][0] for texts in encoder.slices] == ["x", "y", "y", "y", "y"]


async def test_a_slice_is_small_in_texts_and_in_tokens() -> None:
    encoder = _Encoder()
    provider = _provider(encoder)
    await provider.embed(_call(["t" * 10] * 200))
    await provider.embed(_call(["t" * 100] * 20))
    await provider.aclose()
    assert max(len(texts) for texts in encoder.slices) == 8
    assert max(sum(map(len, texts)) for texts in encoder.slices) <= 256
