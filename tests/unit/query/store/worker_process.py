"""A process that writes, replaces, deletes and searches until its input ends.

It prints a line for each acknowledged change of its own documents, and checks that every search
sees whole documents: all passages of a document say the same version.
"""

import asyncio
import random
import sys
from collections import defaultdict

from query.store import SearchMode, SearchQuery, Store, StoreError, open_store
from query.store.model import Hit
from query.store.testing import SPACE, document, vector_of

NAMES = 6


def passages(name: str, version: int) -> list[str]:
    """The texts of a version: from three to five."""
    return [f"{name} word version{version} of {3 + version % 3}"] * (3 + version % 3)


def check(hits: list[Hit]) -> None:
    """Fail where a document is found in part, doubled, or in two versions."""
    found = defaultdict(list)
    for hit in hits:
        found[hit.document_id].append(hit.text)
    for name, texts in found.items():
        count = int(texts[0].rsplit(" ", 1)[1])
        assert len(set(texts)) == 1, (name, texts)
        assert len(texts) == count, (name, texts)


async def search(store: Store, draw: random.Random) -> None:
    """Search in each way; nothing is there before the first document."""
    vector = vector_of(draw.randrange(1000))
    for mode in SearchMode:
        check(await store.search("t", "c", SearchQuery(mode, 1000, vector, "word")))


async def change(store: Store, name: str, version: int, draw: random.Random) -> None:
    """Delete or write one document, and say so once it is acknowledged."""
    if draw.random() < 0.2:
        await store.delete_documents("t", "c", [name])
        sys.stdout.write(f"{name} deleted\n")
    else:
        texts = passages(name, version)
        await store.put_document("t", "c", SPACE, "", document(name, texts, seed=version))
        sys.stdout.write(f"{name} {version}\n")
    sys.stdout.flush()


async def main(url: str, prefix: str) -> None:
    """Work until somebody closes this process's input; a typed error is tried again."""
    draw = random.Random(prefix)  # noqa: S311 # the same changes every time
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with open_store(url) as store:
        version = 0
        await store.put_document("t", "c", SPACE, "", document(f"{prefix}-first", ["word of 1"]))
        sys.stdout.write(f"{prefix}-first 0\n")
        while not ended.done():
            version += 1
            try:
                await change(store, f"{prefix}{draw.randrange(NAMES)}", version, draw)
                await search(store, draw)
            except StoreError as error:
                sys.stderr.write(f"{type(error).__name__}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
