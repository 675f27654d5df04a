"""Decides how many requests may wait at a server's door.

A burst, and callers who ask again as soon as they are answered, are as many as they are: they may
all wait. Where more arrive than can be served, the queue would grow for as long as there is room,
and every answer would be as late as the queue is long. The two look alike for a moment only. Hence
the queue may grow freely for that moment; afterwards nobody may wait but in the place of somebody
who has gone, and each refusal takes a place away, until the queue is short.

The queue may grow again once it was empty and nobody was refused lately. Callers who would all find
a place, but are refused because others came in the moment that counted, would wait for that for
ever: it may also grow some time after the refusals began, and later each time.
"""

import math

BURST_SECONDS = 0.25
"""For how long the queue may grow."""
SHORT_QUEUE = 8
"""How many may always wait."""
CALM_SECONDS = 1.0
"""How long nobody was refused before an empty queue may grow again."""
FULL_SECONDS, MOST_FULL_SECONDS = 1.0, 32.0
"""After which the queue may grow again although requests are refused: at first, and at most."""


class QueueRoom:
    """Says who may wait, from how many are there; it holds no requests itself."""

    def __init__(self, most: int) -> None:
        """`most` is how many may wait, whatever happens."""
        self._most = most
        self._grows_until = -math.inf
        self._places = 0
        self._refused_at = -math.inf
        self._grows_again = math.inf
        self._full_seconds = FULL_SECONDS

    def admits(self, now: float, *, waiting: int, running: int) -> bool:
        """Whether one more may wait; it is counted as refused if not.

        Args:
            now: Seconds of a clock that never goes back.
            waiting: How many wait without it.
            running: How many have begun.
        """
        there = waiting + running
        is_calm = now - self._refused_at >= CALM_SECONDS and not waiting
        if is_calm or now >= self._grows_again:
            self._grow(now, is_calm=is_calm)
        if waiting >= self._most:
            return self._refuse(now)
        if now < self._grows_until:
            self._places = max(self._places, there + 1)
        elif waiting >= SHORT_QUEUE and there >= self._places:
            return self._refuse(now)
        return True

    def _grow(self, now: float, *, is_calm: bool) -> None:
        self._grows_until = now + BURST_SECONDS
        self._grows_again = math.inf
        self._places = 0
        if is_calm:
            self._full_seconds = FULL_SECONDS

    def _refuse(self, now: float) -> bool:
        if self._grows_again == math.inf:
            self._grows_again = now + self._full_seconds
            self._full_seconds = min(2 * self._full_seconds, MOST_FULL_SECONDS)
        self._refused_at = now
        self._places -= 1
        return False
