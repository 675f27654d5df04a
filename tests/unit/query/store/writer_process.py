"""A process that writes documents of five chunks and prints each id once it is acknowledged."""

import asyncio
import sys

from query.store import open_store
from query.store.testing import SPACE, document

CHUNKS = 5


async def main(url: str, prefix: str, count: int, at_once: int = 1) -> None:
    """Write `count` documents, a quarter of them replacements, so many at a time."""
    numbers = iter(range(count))
    async with open_store(url) as store:

        async def write() -> None:
            for number in numbers:
                name = f"{prefix}{number - number % 4 // 3}"
                texts = [f"{name} passage {n}" for n in range(CHUNKS)]
                await store.put_document("t", "c", SPACE, "", document(name, texts, seed=number))
                sys.stdout.write(f"{name}\n")
                sys.stdout.flush()

        await asyncio.gather(*(write() for _ in range(at_once)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
