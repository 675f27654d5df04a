"""A process that writes documents of five chunks and prints each id once it is acknowledged."""

import asyncio
import sys

from query.store import open_store
from query.store.testing import SPACE, document

CHUNKS = 5


async def main(url: str, prefix: str, count: int) -> None:
    """Write `count` documents over and over, half of them replacements of themselves."""
    async with open_store(url) as store:
        for number in range(count):
            name = f"{prefix}{number - number % 4 // 3}"
            texts = [f"{name} passage {n}" for n in range(CHUNKS)]
            await store.put_document("t", "c", SPACE, "", document(name, texts, seed=number))
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
