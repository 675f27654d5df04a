"""The local embedding provider: multilingual-e5-small, without a network and without a key."""

import asyncio
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from config_core.model_configuration import ModelProvider
from embedding.batching import cut
from embedding.providers.local_engine import (
    DIMENSIONS,
    MAX_TOKENS,
    MODEL,
    EngineState,
    LocalEngine,
)
from embedding.providers.port import EmbedCall, EmbedResult, InputKind
from service_core import processors
from service_core.upstream.errors import (
    ContextTooLongError,
    ModelNotFoundError,
    UpstreamRejectedError,
)
from service_core.usage import Usage

SMALL_CALL_CHARACTERS = 1_000
"""A call of no more characters takes the lane that no batch ever enters."""

# One slice is what a cancelled call still finishes and what another caller waits for: about a
# quarter of a second. Larger ones are no faster a text.
_SLICE_TEXTS = 8
_SLICE_TOKENS = 256
_COUNTED_TEXTS = 128
_COUNTED_CHARACTERS = 100_000

_Result = TypeVar("_Result")
_Sliced = Callable[[Sequence[str]], list[_Result]]


class LocalEmbeddingProvider:
    """Embeds in two threads, one for small calls (queries) and one for batches.

    Batches are cut into slices, and a call hands in its next one when its last is done: batches
    side by side take turns, and a cancelled one ends with its slice.

    OpenMP threads wait for one another by spinning, so that more of them than cores are many
    times slower than one: small calls use one, batches the remaining cores.
    """

    def __init__(
        self, engine: LocalEngine | None = None, *, batch_threads: int | None = None
    ) -> None:
        self._engine = engine or LocalEngine()
        self._batch_threads = batch_threads or max(1, processors.usable() - 1)
        self._small = ThreadPoolExecutor(1, thread_name_prefix="embed-small")
        self._batch = ThreadPoolExecutor(1, thread_name_prefix="embed-batch")

    @property
    def state(self) -> EngineState:
        """How far the model is, for health and doctor."""
        return self._engine.state

    async def load(self) -> None:
        """Load the model before the first call. Raises `LocalModelUnavailableError`."""
        await asyncio.get_running_loop().run_in_executor(self._small, self._engine.load)

    async def embed(self, call: EmbedCall) -> EmbedResult:
        """Embed the batch, all or nothing; a text that is at fault is named by metadata `index`."""
        _check(call)
        small = sum(map(len, call.texts)) <= SMALL_CALL_CHARACTERS
        lane = self._small if small else self._batch
        counts = await _in_slices(
            lane,
            partial(self._engine.count_tokens, kind=call.kind),
            call.texts,
            cut(
                [len(text) for text in call.texts],
                max_items=_COUNTED_TEXTS,
                max_weight=_COUNTED_CHARACTERS,
            ),
        )
        _check_lengths(counts)
        vectors = await _in_slices(
            lane,
            partial(
                self._engine.embed, kind=call.kind, threads=1 if small else self._batch_threads
            ),
            call.texts,
            cut(counts, max_items=_SLICE_TEXTS, max_weight=_SLICE_TOKENS),
        )
        return EmbedResult(vectors=vectors, usage=Usage(input_tokens=sum(counts)), model=MODEL)

    def count_tokens(self, text: str, kind: InputKind = InputKind.PASSAGE) -> int:
        """Count tokens as the model reads the text. Blocks: 0.1 s to load, 1 µs a character."""
        return self._engine.count_tokens([text], kind)[0]

    async def aclose(self) -> None:
        """Wait for the slices that run, and drop those that wait. Calls must have ended."""
        for lane in (self._small, self._batch):
            await asyncio.to_thread(lane.shutdown, cancel_futures=True)


async def _in_slices(
    lane: ThreadPoolExecutor,
    work: _Sliced[_Result],
    texts: Sequence[str],
    slices: Iterable[slice],
) -> list[_Result]:
    loop = asyncio.get_running_loop()
    results: list[_Result] = []
    for part in slices:
        results += await loop.run_in_executor(lane, work, texts[part])
    return results


def _check(call: EmbedCall) -> None:
    if call.model != MODEL:
        raise ModelNotFoundError(
            ModelProvider.LOCAL,
            f"The local provider has no embedding model {call.model!r}: it has {MODEL}.",
            metadata={"model": call.model},
        )
    if call.dimensions not in (None, DIMENSIONS):
        raise UpstreamRejectedError(
            ModelProvider.LOCAL,
            f"{MODEL} gives {DIMENSIONS} dimensions: leave embedding_dimensions out.",
        )
    for index, text in enumerate(call.texts):
        if _is_blank(text):
            raise UpstreamRejectedError(
                ModelProvider.LOCAL,
                "The text has nothing to embed: leave it out.",
                metadata={"index": str(index)},
            )


def _is_blank(text: str) -> bool:
    # Control and format characters alone leave nothing but the prefix, in every text alike.
    return all(char.isspace() or unicodedata.category(char) in {"Cc", "Cf"} for char in text)


def _check_lengths(counts: Sequence[int]) -> None:
    for index, tokens in enumerate(counts):
        if tokens > MAX_TOKENS:
            raise ContextTooLongError(
                ModelProvider.LOCAL,
                f"The text has {tokens} tokens and {MODEL} takes {MAX_TOKENS}: split it.",
                metadata={
                    "index": str(index),
                    "tokens": str(tokens),
                    "limit": str(MAX_TOKENS),
                },
            )
