import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from config_core.errors import EmbeddingSpaceMismatchError, Reason, RemoteError
from config_core.model_configuration import ModelProvider
from query.embedding_batches import CallLimits, EmbeddingBatches, limits_of
from query.embedding_client import Embedded
from query.tokens import estimate_tokens
from service_core.usage import Usage
from tests.unit.config_core.support import embedding, snapshot
from tests.unit.query.world import E5, OTHER_SPACE


async def _nothing(_: Sequence[str]) -> None:
    """What happens before an answer, unless a test says otherwise."""


class Provider:
    """Answers each text with its bytes, and notes the calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.before: Callable[[Sequence[str]], Awaitable[None]] = _nothing
        self.running = self.most_running = 0

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.calls.append(list(texts))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            await self.before(texts)
        finally:
            self.running -= 1
        space = OTHER_SPACE if texts[0].startswith("other") else E5
        return Embedded([text.encode() for text in texts], space, Usage(), ())


LIMITS = CallLimits(texts=4, tokens=100, calls=2)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def batches(provider: Provider) -> AsyncIterator[EmbeddingBatches]:
    batches = EmbeddingBatches(provider.embed, LIMITS, "cities")
    yield batches
    await batches.aclose()


def failing(reason: Reason, word: str) -> Callable[[Sequence[str]], Awaitable[None]]:
    async def fail(texts: Sequence[str]) -> None:
        if any(word in text for text in texts):
            raise RemoteError(reason, "It did not work.")

    return fail


async def vectors(batches: EmbeddingBatches, *documents: Sequence[str]) -> list[list[str]]:
    """The texts that the vectors of each document stand for."""
    found = await asyncio.gather(*(batches.embed(texts) for texts in documents))
    return [[vector.decode() for vector in each.vectors] for each in found]


async def test_each_document_gets_its_own_vectors_in_order(batches: EmbeddingBatches) -> None:
    documents = [["a", "b"], ["c"], ["d", "e", "f"], ["g"]]
    assert await vectors(batches, *documents) == documents


async def test_small_documents_share_a_call(batches: EmbeddingBatches, provider: Provider) -> None:
    await vectors(batches, ["a"], ["b", "c"], ["d"], ["e"])
    assert provider.calls == [["a", "b", "c", "d"], ["e"]]


async def test_a_large_document_takes_several_calls(
    batches: EmbeddingBatches, provider: Provider
) -> None:
    texts = [f"t{number}" for number in range(10)]
    assert await vectors(batches, texts) == [texts]
    assert provider.calls == [texts[:4], texts[4:8], texts[8:]]


async def test_a_call_has_no_more_tokens_than_the_limit(
    batches: EmbeddingBatches, provider: Provider
) -> None:
    small, large, huge = "s" * 90, "l" * 240, "h" * 3000
    assert [estimate_tokens(text) for text in (small, large, huge)] == [30, 80, 1000]
    await vectors(batches, [small, large, huge, small + "2"], [large + "2"])
    assert provider.calls == [[small], [large], [huge], [small + "2"], [large + "2"]]


async def test_no_more_calls_run_at_a_time_than_the_limit(
    batches: EmbeddingBatches, provider: Provider
) -> None:
    await vectors(batches, *([f"{number}{letter}" for letter in "abc"] for number in range(9)))
    assert (len(provider.calls), provider.most_running) == (9, 2)


async def test_a_second_call_starts_when_it_would_be_half_full(
    batches: EmbeddingBatches, provider: Provider
) -> None:
    release = asyncio.Event()

    async def hold(_: Sequence[str]) -> None:
        await release.wait()

    provider.before = hold
    tasks = []
    for letter in "abcdef":
        tasks.append(asyncio.create_task(batches.embed([letter])))
        await asyncio.sleep(0.01)
    release.set()
    await asyncio.gather(*tasks)
    assert provider.calls == [["a"], ["b", "c"], ["d", "e", "f"]]


async def test_a_second_call_starts_when_it_would_have_half_the_tokens(
    batches: EmbeddingBatches, provider: Provider
) -> None:
    release = asyncio.Event()

    async def hold(_: Sequence[str]) -> None:
        await release.wait()

    provider.before = hold
    tasks = []
    for text in ("a", "b" * 147, "c" * 150):
        tasks.append(asyncio.create_task(batches.embed([text])))
        await asyncio.sleep(0.01)
        if text.startswith("b"):
            assert len(provider.calls) == 1
    assert provider.calls == [["a"], ["b" * 147, "c" * 150]]
    release.set()
    await asyncio.gather(*tasks)


async def test_the_same_text_is_sent_once_in_a_call(
    batches: EmbeddingBatches, provider: Provider
) -> None:
    assert await vectors(batches, ["a", "b", "a"], ["b"]) == [["a", "b", "a"], ["b"]]
    assert provider.calls == [["a", "b"]]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.CONTEXT_TOO_LONG,
        Reason.CONTENT_REFUSED,
        Reason.UPSTREAM_REJECTED,
        Reason.UPSTREAM_FAILED,
        Reason.BUDGET_SPENT,
    ],
)
async def test_a_text_that_spoils_a_call_harms_its_own_document_only(
    batches: EmbeddingBatches, provider: Provider, reason: Reason
) -> None:
    provider.before = failing(reason, "bad")
    good, bad, last = await asyncio.gather(
        batches.embed(["a"]), batches.embed(["bad"]), batches.embed(["c"]), return_exceptions=True
    )
    assert isinstance(bad, RemoteError)
    assert bad.code_reason is reason
    assert not isinstance(good, BaseException)
    assert not isinstance(last, BaseException)
    assert (good.vectors, last.vectors) == ([b"a"], [b"c"])
    assert provider.calls == [["a", "bad", "c"], ["a"], ["bad"], ["c"]]


@pytest.mark.parametrize("reason", [Reason.RATE_LIMITED, Reason.CREDENTIAL_MISSING])
async def test_what_is_of_the_connection_is_not_tried_again_for_each_document(
    batches: EmbeddingBatches, provider: Provider, reason: Reason
) -> None:
    provider.before = failing(reason, "")
    found = await asyncio.gather(batches.embed(["a"]), batches.embed(["b"]), return_exceptions=True)
    assert [type(each) for each in found] == [RemoteError] * 2
    assert provider.calls == [["a", "b"]]


async def test_a_fault_reaches_each_document(batches: EmbeddingBatches, provider: Provider) -> None:
    async def fault(_: Sequence[str]) -> None:
        raise ZeroDivisionError

    provider.before = fault
    found = await asyncio.gather(batches.embed(["a"]), batches.embed(["b"]), return_exceptions=True)
    assert [type(each) for each in found] == [ZeroDivisionError] * 2


async def test_a_call_without_enough_vectors_is_a_fault(provider: Provider) -> None:
    async def short(texts: Sequence[str]) -> Embedded:
        answer = await provider.embed(texts)
        return replace(answer, vectors=answer.vectors[1:])

    batches = EmbeddingBatches(short, LIMITS, "cities")
    with pytest.raises(ValueError, match="shorter"):
        await batches.embed(["a", "b"])


async def test_a_document_in_two_spaces_is_refused(batches: EmbeddingBatches) -> None:
    texts = ["a", "b", "c", "d", "other"]
    with pytest.raises(EmbeddingSpaceMismatchError) as caught:
        await batches.embed(texts)
    assert caught.value.metadata["collection"] == "cities"
    assert {caught.value.collection_space, caught.value.requested_space} == {E5, OTHER_SPACE}


async def test_a_document_that_is_given_up_leaves_the_others(
    batches: EmbeddingBatches, provider: Provider
) -> None:
    release = asyncio.Event()

    async def hold(_: Sequence[str]) -> None:
        await release.wait()

    provider.before = hold
    given_up, kept = (asyncio.create_task(batches.embed([letter])) for letter in "ab")
    waiting = asyncio.create_task(batches.embed(["c"] * 4 + ["d"]))
    await asyncio.sleep(0.01)
    for task in (given_up, waiting):
        task.cancel()
    await asyncio.wait([given_up, waiting])
    release.set()
    assert (await kept).vectors == [b"b"]
    await asyncio.sleep(0.01)
    assert ["d"] not in provider.calls


async def test_closing_ends_the_calls(provider: Provider) -> None:
    async def hold(_: Sequence[str]) -> None:
        await asyncio.Event().wait()

    provider.before = hold
    batches = EmbeddingBatches(provider.embed, LIMITS, "cities")
    document = asyncio.create_task(batches.embed(["a"]))
    await asyncio.sleep(0.01)
    assert provider.running == 1
    await batches.aclose()
    assert provider.running == 0
    document.cancel()
    await asyncio.wait([document])


def test_a_call_is_one_that_the_provider_takes_whole() -> None:
    service = snapshot(environ={"OPENAI_API_KEY": "sk-a", "MISTRAL_API_KEY": "sk-b"})

    def limits(provider: ModelProvider) -> CallLimits:
        return limits_of(embedding(service, {"embedding_provider": provider}).primary)

    assert limits(ModelProvider.OPENAI) == CallLimits(128, 300_000, 8)
    assert limits(ModelProvider.MISTRAL) == CallLimits(128, 16_000, 8)
    assert limits(ModelProvider.LOCAL) == CallLimits(32, 1024, 2)
