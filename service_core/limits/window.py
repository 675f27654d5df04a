"""A sliding window: how much there was of something in the last minute, to a tenth of a second."""

from collections import deque

SLICES = 600
"""Parts of a window. It never counts too little, and at most one part too much: 0.17 %."""
WINDOW_SECONDS = 60.0


class Window:
    """The amounts of the last `seconds`; times are the caller's, in seconds, and never go back."""

    def __init__(self, seconds: float = WINDOW_SECONDS) -> None:
        self._width = seconds / SLICES
        self._slices: deque[list[int]] = deque()
        self._total = 0

    def is_empty(self, now: float) -> bool:
        """Whether nothing of it counts any more."""
        self._slide(now)
        return not self._slices

    def wait_for(self, amount: int, limit: int, now: float) -> float:
        """Seconds until `amount` more fits under the limit; 0 where it does."""
        self._slide(now)
        over = self._total + amount - limit
        if over <= 0:
            return 0.0
        for number, counted in self._slices:
            over -= counted
            if over <= 0:
                return (number + SLICES + 1) * self._width - now
        return (SLICES + 1) * self._width

    def add(self, amount: int, now: float) -> int:
        """Count an amount; gives the part that it counts in."""
        self._slide(now)
        number = int(now / self._width)
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append([number, 0])
        self._slices[-1][1] += amount
        self._total += amount
        return self._slices[-1][0]

    def take_back(self, number: int, amount: int, now: float) -> None:
        """Uncount what was counted in a part, if that still counts."""
        self._slide(now)
        for part in self._slices:
            if part[0] == number:
                part[1] -= amount
                self._total -= amount
                return

    def _slide(self, now: float) -> None:
        oldest = int(now / self._width) - SLICES
        while self._slices and self._slices[0][0] < oldest:
            self._total -= self._slices.popleft()[1]
