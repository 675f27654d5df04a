"""How much of a stream is worked on at a time."""

import asyncio


class Capacity:
    """Lets in so many documents of so many bytes in all; a larger one has to be alone."""

    def __init__(self, documents: int, weight: int) -> None:
        self._documents = documents
        self._weight = weight
        self._taken: list[int] = []
        self._freed = asyncio.Event()

    async def take(self, weight: int) -> None:
        """Wait until there is room. For one caller at a time, who gives it back with `give`."""
        while self._taken and (
            len(self._taken) == self._documents or sum(self._taken) + weight > self._weight
        ):
            self._freed.clear()
            await self._freed.wait()
        self._taken.append(weight)

    def give(self, weight: int) -> None:
        """Give back what was taken."""
        self._taken.remove(weight)
        self._freed.set()
