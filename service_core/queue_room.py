"""Decides how many requests may wait at a server's door.

A few may always wait. A burst, and callers who ask again as soon as they are answered, are as many
as they are: they may all wait too. Where more arrive than can be served, the queue would grow for
as long as there is room, and every answer would be as late as the queue is long. The two look alike
for a moment only. Hence the queue may grow freely until some requests have begun; afterwards nobody
may wait but in the place of somebody who has gone, and each refusal takes a place away. While some
are refused, nobody begins who has waited long: those behind him would all be as late.

The queue may grow again once it is short and nobody was refused lately. Callers who would all find
a place, but are refused because others came in the moment that counted, would wait for that for
ever: it may also grow some time after the refusals began, and later each time.
"""

import math

SHORT_QUEUE, CALM_QUEUE = 6, 40
"""How many may always wait: while requests are refused, and after a calm."""
GROWING_BEGUN = 24
"""How many begin while a queue that is no longer short may grow.
A count, since a busy machine takes long to hand a burst over, but lets few begin meanwhile."""
GROWING_SECONDS = 1.0
"""For how long it may grow at most."""
SPARE_PLACES = 4
"""For callers who were on their way while it grew."""
CALM_SECONDS = 1.0
"""How long nobody was refused before the queue may grow again."""
FULL_SECONDS, MOST_FULL_SECONDS = 4.0, 32.0
"""After which the queue may grow again although requests are refused: at first, and at most."""
LATE_SECONDS, LATELY_SECONDS = 0.2, 0.1
"""What is long to wait, while somebody was refused so lately."""


class QueueRoom:
    """Says who may wait, from how many are there; it holds no requests itself."""

    def __init__(self, most: int) -> None:
        """`most` is how many may wait, whatever happens."""
        self._most = most
        self._grows_until = -math.inf
        self._grows_to = 0
        self._places = 0
        self._refused_at = -math.inf
        self._grows_again = math.inf
        self._full_seconds = FULL_SECONDS

    def admits(self, now: float, *, waiting: int, running: int, begun: int) -> bool:
        """Whether one more may wait; it is counted as refused if not.

        Args:
            now: Seconds of a clock that never goes back.
            waiting: How many wait without it.
            running: How many have begun and not ended.
            begun: How many have begun since the start.
        """
        is_calm = now - self._refused_at >= CALM_SECONDS
        if is_calm and waiting < SHORT_QUEUE:
            self._full_seconds = FULL_SECONDS
        if (is_calm and waiting < SHORT_QUEUE) or now >= self._grows_again:
            self._grows_until, self._grows_to = now + GROWING_SECONDS, begun + GROWING_BEGUN
            self._grows_again, self._places = math.inf, 0
        there = waiting + running
        if now < self._grows_until and begun < self._grows_to:
            self._places = max(self._places, there + 1 + SPARE_PLACES)
        may_wait = CALM_QUEUE if is_calm else SHORT_QUEUE
        if waiting < self._most and (waiting < may_wait or there < self._places):
            return True
        self._refuse(now)
        return False

    def drops(self, now: float, since: float) -> bool:
        """Whether one that has waited since then is refused after all; so its place is gone too."""
        is_late = now - since > LATE_SECONDS and now - self._refused_at < LATELY_SECONDS
        self._places -= is_late
        return is_late

    def _refuse(self, now: float) -> None:
        self._refused_at = now
        self._places -= 1
        if self._grows_again == math.inf:
            self._grows_again = now + self._full_seconds
            self._full_seconds = min(2 * self._full_seconds, MOST_FULL_SECONDS)
