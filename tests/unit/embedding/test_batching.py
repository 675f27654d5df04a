import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config_core.model_configuration import ModelProvider
from embedding.batching import BatchLimits, cut, embed_in_batches, estimate_tokens
from embedding.providers.port import EmbedResult
from service_core.upstream.errors import (
    ContextTooLongError,
    RateLimitedError,
    UpstreamError,
)
from service_core.usage import Usage


def _result(texts: Sequence[str]) -> EmbedResult:
    return EmbedResult(
        vectors=[text.encode() for text in texts],
        usage=Usage(input_tokens=len(texts)),
        model="m",
        request_id=f"r-{texts[0]}",
    )


class _Provider:
    """Notes each batch; waits while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.running = self.most_running = self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.two_run = asyncio.Event()
        self.errors: dict[str, UpstreamError] = {}

    async def embed(self, texts: Sequence[str]) -> EmbedResult:
        self.batches.append(list(texts))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        if self.running >= 2:
            self.two_run.set()
        try:
            await asyncio.sleep(0)
            if error := self.errors.get(texts[0]):
                raise error
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return _result(texts)


def _texts(count: int) -> list[str]:
    return [f"t{number}" for number in range(count)]


def _limits(max_inputs: int = 2, max_tokens: int = 10_000, in_flight: int = 2) -> BatchLimits:
    return BatchLimits(max_inputs=max_inputs, max_tokens=max_tokens, in_flight=in_flight)


async def test_vectors_keep_the_order_of_texts_though_batches_end_in_another() -> None:
    second_done = asyncio.Event()

    async def first_batch_ends_last(texts: Sequence[str]) -> EmbedResult:
        if texts[0] == "t0":
            await second_done.wait()
        else:
            second_done.set()
        return _result(texts)

    result = await embed_in_batches(_texts(4), first_batch_ends_last, _limits())
    assert list(result.vectors) == [b"t0", b"t1", b"t2", b"t3"]
    assert result.request_id == "r-t0"


async def test_no_batch_has_more_texts_than_the_limit() -> None:
    provider = _Provider()
    await embed_in_batches(_texts(5), provider.embed, _limits(max_inputs=2))
    assert [len(batch) for batch in provider.batches] == [2, 2, 1]


async def test_no_batch_of_several_texts_is_estimated_above_the_token_limit() -> None:
    provider = _Provider()
    limits = _limits(max_inputs=100, max_tokens=10)
    await embed_in_batches(
        ["a" * 4, "b" * 4, "c" * 40, "d" * 4], provider.embed, limits, estimate=len
    )
    assert [len(batch) for batch in provider.batches] == [2, 1, 1]


async def test_no_more_batches_run_at_a_time_than_the_limit_and_as_many_do() -> None:
    provider = _Provider()
    await embed_in_batches(_texts(12), provider.embed, _limits(max_inputs=1, in_flight=3))
    assert provider.most_running == 3


async def test_usage_is_the_sum_of_the_batches() -> None:
    result = await embed_in_batches(_texts(5), _Provider().embed, _limits())
    assert result.usage == Usage(input_tokens=5)


async def test_a_failure_cancels_what_runs_and_starts_nothing_more() -> None:
    provider = _Provider()
    provider.gate.clear()
    provider.errors["t2"] = RateLimitedError(ModelProvider.OPENAI, "Too many requests.")
    with pytest.raises(RateLimitedError):
        await embed_in_batches(_texts(20), provider.embed, _limits())
    assert provider.cancelled == 1
    assert provider.running == 0
    assert len(provider.batches) == 2


async def test_an_error_names_the_callers_position_of_the_text() -> None:
    provider = _Provider()
    provider.errors["t4"] = ContextTooLongError(
        ModelProvider.OPENAI, "The text is too long.", metadata={"index": "1"}
    )
    with pytest.raises(ContextTooLongError) as caught:
        await embed_in_batches(_texts(6), provider.embed, _limits())
    assert caught.value.metadata["index"] == "5"
    assert str(caught.value) == caught.value.message == "texts[5]: The text is too long."


async def test_an_error_without_a_position_stays_as_it_is() -> None:
    provider = _Provider()
    error = RateLimitedError(ModelProvider.OPENAI, "Too many requests.", retry_after=2.0)
    provider.errors["t2"] = error
    with pytest.raises(RateLimitedError) as caught:
        await embed_in_batches(_texts(6), provider.embed, _limits())
    assert caught.value is error
    assert caught.value.message == "Too many requests."


async def test_cancelling_the_caller_cancels_every_batch() -> None:
    provider = _Provider()
    provider.gate.clear()
    task = asyncio.create_task(embed_in_batches(_texts(8), provider.embed, _limits()))
    await provider.two_run.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (provider.cancelled, provider.running) == (2, 0)


async def test_a_batch_with_a_vector_too_few_is_never_taken_for_whole() -> None:
    async def loses_one(texts: Sequence[str]) -> EmbedResult:
        return _result(texts[:1])

    with pytest.raises(ValueError, match="2 texts came back as 1 vectors"):
        await embed_in_batches(_texts(4), loses_one, _limits())


async def test_nothing_to_embed_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        await embed_in_batches([], _Provider().embed, _limits())


@given(st.lists(st.integers(0, 20)), st.integers(1, 5), st.integers(1, 30))
def test_a_cut_loses_nothing_and_respects_both_limits(
    weights: list[int], max_items: int, max_weight: int
) -> None:
    runs = [weights[part] for part in cut(weights, max_items=max_items, max_weight=max_weight)]
    assert [weight for run in runs for weight in run] == weights
    for run in runs:
        assert 1 <= len(run) <= max_items
        assert sum(run) <= max_weight or len(run) == 1


def test_the_estimate_is_no_less_than_a_token_a_character_of_chinese() -> None:
    assert estimate_tokens("巴黎是法国的首都") >= 8
