"""Cuts many texts into batches that a provider takes, and puts the answers back together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from config_core.errors import CascadaError
from embedding.providers.port import EmbedResult
from service_core.usage import Usage

EmbedBatch = Callable[[Sequence[str]], Awaitable[EmbedResult]]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a provider takes in one call, and how many calls run at a time."""

    max_inputs: int
    max_tokens: int
    """Of all texts of a call, by `estimate_tokens`; a longer text goes alone."""
    in_flight: int = 4


def estimate_tokens(text: str) -> int:
    """Estimate tokens from above: two bytes of text a token, where Latin script has about four."""
    return len(text.encode("utf-8", "replace")) // 2 + 1


def cut(weights: Sequence[int], *, max_items: int, max_weight: int) -> Iterator[slice]:
    """Cut a sequence into runs within both limits; an item above `max_weight` runs alone."""
    start = total = 0
    for position, weight in enumerate(weights):
        if position > start and (position - start >= max_items or total + weight > max_weight):
            yield slice(start, position)
            start, total = position, 0
        total += weight
    if start < len(weights):
        yield slice(start, len(weights))


async def embed_in_batches(
    texts: Sequence[str],
    embed_batch: EmbedBatch,
    limits: BatchLimits,
    estimate: Callable[[str], int] = estimate_tokens,
) -> EmbedResult:
    """Embed at least one text, in batches, several at a time; the vectors keep the texts' order.

    The first batch to fail cancels the others, and its error is raised as it is, save that the
    position of a text (metadata `index`) becomes the one in `texts` and stands in the message.
    Model and request id are those of the first batch; usage is the sum.
    """
    if not texts:
        raise ValueError("there is nothing to embed")
    parts = list(
        cut(
            [estimate(text) for text in texts],
            max_items=limits.max_inputs,
            max_weight=limits.max_tokens,
        )
    )
    results: list[EmbedResult | None] = [None] * len(parts)
    waiting = iter(enumerate(parts))

    async def work() -> None:
        for number, part in waiting:
            results[number] = await _embed_part(texts, part, embed_batch)

    workers = [asyncio.create_task(work()) for _ in range(min(limits.in_flight, len(parts)))]
    try:
        ended, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        for worker in workers:
            if worker in ended:
                worker.result()
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    done = [result for result in results if result is not None]
    return EmbedResult(
        vectors=[vector for result in done for vector in result.vectors],
        usage=sum((result.usage for result in done), Usage()),
        model=done[0].model,
        request_id=done[0].request_id,
    )


async def _embed_part(texts: Sequence[str], part: slice, embed_batch: EmbedBatch) -> EmbedResult:
    batch = texts[part]
    try:
        result = await embed_batch(batch)
    except CascadaError as error:
        _shift_index(error, part.start)
        raise
    if len(result.vectors) != len(batch):
        # Passed on, every later vector would belong to another text.
        raise ValueError(f"{len(batch)} texts came back as {len(result.vectors)} vectors")
    return result


def _shift_index(error: CascadaError, offset: int) -> None:
    index = error.metadata.get("index", "")
    if index.isdecimal():
        place = int(index) + offset
        error.metadata["index"] = str(place)
        error.message = f"texts[{place}]: {error.message}"
        error.args = (error.message,)
