"""Embeds the passages of many documents in calls of the size that suits the provider."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from config_core.capabilities import MATRIX
from config_core.effective import Target
from config_core.errors import CascadaError, EmbeddingSpaceMismatchError, Reason
from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace
from query.embedding_client import Embedded
from query.tokens import estimate_tokens

# The local model takes a millisecond a token, ten on a busy machine, and gains nothing by more.
_LOCAL_TEXTS, _LOCAL_TOKENS, _LOCAL_CALLS = 32, 1024, 2
_MOST_TEXTS, _CALLS = 128, 8

_OF_ONE_TEXT = frozenset(
    {
        Reason.INVALID_ARGUMENT,
        Reason.CONTEXT_TOO_LONG,
        Reason.CONTENT_REFUSED,
        Reason.UPSTREAM_REJECTED,
        Reason.UPSTREAM_FAILED,
        Reason.BUDGET_SPENT,
    }
)
"""What one of a call's texts may have caused: its documents are then embedded each alone."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How large a call may be, and how many run at a time."""

    texts: int
    tokens: int
    """Of all texts of a call, by estimate; a longer text goes alone."""
    calls: int


def limits_of(target: Target) -> CallLimits:
    """What suits a provider: no call that it would have to be sent in pieces."""
    if target.connection.protocol is ModelProvider.LOCAL:
        return CallLimits(_LOCAL_TEXTS, _LOCAL_TOKENS, _LOCAL_CALLS)
    row = MATRIX[target.connection.provider].embedding
    assert row is not None  # resolution refuses a provider without embeddings
    return CallLimits(min(_MOST_TEXTS, row.max_texts), row.max_tokens, _CALLS)


class Vectors(NamedTuple):
    """One vector a text, in order, all of one space."""

    space: EmbeddingSpace
    vectors: Sequence[bytes]


@dataclass(slots=True, eq=False)
class _Piece:
    """Texts of one document that go into one call, with others or `alone`."""

    done: "asyncio.Future[Vectors]"
    texts: list[str] = field(default_factory=list)
    tokens: int = 0
    alone: bool = False


@dataclass(slots=True)
class _Call:
    pieces: list[_Piece] = field(default_factory=list)
    texts: int = 0
    tokens: int = 0


class EmbeddingBatches:
    """One run's calls. What waits when a call may start shares it.

    The first call starts at once, further ones beside it where they would be half full at least: so
    a lone document does not wait, and many small ones fill the calls by themselves. A text that is
    in a call several times is sent once.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[str]], Awaitable[Embedded]],
        limits: CallLimits,
        collection: str,
    ) -> None:
        """`embed` makes one call; the collection is the one that errors name."""
        self._embed = embed
        self._limits = limits
        self._collection = collection
        self._waiting: deque[_Piece] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Handle | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One document's vectors; EmbeddingSpaceMismatchError, or what a call raises."""
        pieces = self._pieces(texts)
        self._waiting.extend(pieces)
        self._start_soon()
        try:
            parts = await asyncio.gather(*(piece.done for piece in pieces))
        finally:
            for piece in pieces:
                piece.done.cancel()
        space = parts[0].space
        for part in parts:
            if part.space != space:
                raise EmbeddingSpaceMismatchError(self._collection, space, part.space)
        return Vectors(space, [vector for part in parts for vector in part.vectors])

    async def aclose(self) -> None:
        """End the calls that still run."""
        if self._starting is not None:
            self._starting.cancel()
        self._waiting.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _pieces(self, texts: Sequence[str]) -> list[_Piece]:
        limits, pieces = self._limits, list[_Piece]()
        for text in texts:
            tokens = estimate_tokens(text)
            last = pieces[-1] if pieces else None
            if (
                last is None
                or len(last.texts) == limits.texts
                or last.tokens + tokens > limits.tokens
            ):
                last = _Piece(asyncio.get_running_loop().create_future())
                pieces.append(last)
            last.texts.append(text)
            last.tokens += tokens
        return pieces

    def _start_soon(self) -> None:
        """Start what may be started, once all that is ready now has been handed in."""
        if self._starting is None:
            self._starting = asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._starting = None
        while self._may_start() and (call := self._next()).pieces:
            task = asyncio.create_task(self._run(call.pieces))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _may_start(self) -> bool:
        if not self._running:
            return True
        if len(self._running) == self._limits.calls:
            return False
        texts = tokens = 0
        for piece in self._waiting:
            texts += len(piece.texts)
            tokens += piece.tokens
            if piece.alone or 2 * texts >= self._limits.texts or 2 * tokens >= self._limits.tokens:
                return True
        return False

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting:
            self._start_soon()

    def _next(self) -> _Call:
        """As many of the waiting pieces as fit into one call."""
        call, limits = _Call(), self._limits
        while self._waiting:
            piece = self._waiting[0]
            if not piece.done.done():  # else its document has been given up
                fits = (
                    call.texts + len(piece.texts) <= limits.texts
                    and call.tokens + piece.tokens <= limits.tokens
                    and not piece.alone
                )
                if call.pieces and not fits:
                    break
                call.pieces.append(piece)
                call.texts += len(piece.texts)
                call.tokens += piece.tokens
            self._waiting.popleft()
            if piece.alone:
                break
        return call

    async def _run(self, pieces: Sequence[_Piece]) -> None:
        different = list(dict.fromkeys(text for piece in pieces for text in piece.texts))
        try:
            embedded = await self._embed(different)
            vectors = dict(zip(different, embedded.vectors, strict=True))
        except CascadaError as error:
            if len(pieces) > 1 and error.code_reason in _OF_ONE_TEXT:
                for piece in reversed(pieces):
                    piece.alone = True
                    self._waiting.appendleft(piece)
            else:
                _fail(pieces, error)
        except Exception as fault:  # noqa: BLE001 # whoever waits for a piece raises it
            _fail(pieces, fault)
        else:
            for piece in pieces:
                if not piece.done.done():
                    own = [vectors[text] for text in piece.texts]
                    piece.done.set_result(Vectors(embedded.space, own))


def _fail(pieces: Sequence[_Piece], error: Exception) -> None:
    for piece in pieces:
        if not piece.done.done():
            piece.done.set_exception(error)
