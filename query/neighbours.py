"""Joins hits with the passages before and after them."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from query.errors import store_errors_for
from query.retrieval import Found
from query.store import Store, StoredChunk
from service_core.concurrency import gather_or_cancel

_LINE = re.compile(r"[-*+|>#]|\d{1,9}[.)]")
"""What a line of a list, a table, a quotation or a heading begins with."""


@dataclass(slots=True)
class _Window:
    """Positions of one document that are read in one piece, and the hits in it by rank."""

    first: int
    last: int
    hits: list[tuple[int, Found]] = field(default_factory=list)


async def widened(
    store: Store,
    tenant: str,
    passages: Sequence[Found],
    neighbours: int,
    calls: asyncio.Semaphore,
) -> list[Found]:
    """The passages with up to `neighbours` passages on either side of each.

    Those of one document whose windows touch or overlap become one, in the place of the better
    ranked, so that fewer may come back. A document that was replaced since it was searched keeps
    its hits as they were found.
    """

    async def read(window: _Window) -> list[tuple[int, Found]]:
        rank, best = window.hits[0]
        async with calls, store_errors_for(best.collection):
            chunks = await store.get_chunks(
                tenant, best.collection, best.hit.document_id, window.first, window.last
            )
        at = {chunk.position: chunk for chunk in chunks}
        if any(not _same(at.get(found.hit.position), found) for _, found in window.hits):
            return window.hits
        whole = replace(best.hit, text=_joined(chunks), start=chunks[0].start, end=chunks[-1].end)
        return [(rank, Found(best.collection, whole, best.hit))]

    read_windows = await gather_or_cancel(map(read, _windows(passages, neighbours)))
    ranked = sorted((found for each in read_windows for found in each), key=lambda pair: pair[0])
    return [found for _, found in ranked]


def _windows(passages: Sequence[Found], neighbours: int) -> Iterable[_Window]:
    """What to read: the windows of each document, those that touch as one."""
    documents: dict[tuple[str, str], list[tuple[int, Found]]] = {}
    for rank, found in enumerate(passages):
        documents.setdefault((found.collection, found.hit.document_id), []).append((rank, found))
    for hits in documents.values():
        windows: list[_Window] = []
        for rank, found in sorted(hits, key=lambda pair: pair[1].hit.position):
            first = max(0, found.hit.position - neighbours)
            last = found.hit.position + neighbours
            if not windows or first > windows[-1].last + 1:
                windows.append(_Window(first, last))
            windows[-1].last = last
            windows[-1].hits.append((rank, found))
        for window in windows:
            window.hits.sort(key=lambda pair: pair[0])
        yield from windows


def _same(chunk: StoredChunk | None, found: Found) -> bool:
    return chunk is not None and (chunk.chunk_id, chunk.text) == (
        found.hit.chunk_id,
        found.hit.text,
    )


def _joined(chunks: Sequence[StoredChunk]) -> str:
    """The text that passages in order cover, without what one repeats of the one before."""
    text, end = chunks[0].text, chunks[0].end
    for chunk in chunks[1:]:
        repeated = end - chunk.start
        if 0 < repeated <= len(chunk.text) and text.endswith(chunk.text[:repeated]):
            text += chunk.text[repeated:]
        else:
            text += _gap(chunk.start - end, chunk.text) + chunk.text
        end = chunk.end
    return text


def _gap(length: int, after: str) -> str:
    """What stands for the white space that was between two passages: it is not stored."""
    if length == 0:
        return ""
    if length == 1:
        return "\n" if _LINE.match(after) else " "
    return "\n\n"
