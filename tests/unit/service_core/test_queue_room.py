from itertools import pairwise

from service_core.queue_room import (
    BURST_SECONDS,
    CALM_SECONDS,
    FULL_SECONDS,
    MOST_FULL_SECONDS,
    SHORT_QUEUE,
    QueueRoom,
)

MOST = 128
BUSY = 12


class Door:
    """A server that works on so many requests at once and so many a second, in simulated time."""

    def __init__(self, rate: float = 100.0) -> None:
        self.room = QueueRoom(MOST)
        self.now = 0.0
        self.there = 0
        self.answered = 0
        self._rate = rate
        self._done = 0.0

    @property
    def waiting(self) -> int:
        return max(0, self.there - BUSY)

    def arrives(self) -> bool:
        """Whether one more is let in."""
        running = self.there - self.waiting
        admitted = self.room.admits(self.now, waiting=self.waiting, running=running)
        self.there += admitted
        return admitted

    def passes(self, seconds: float) -> int:
        """How many are answered meanwhile."""
        self.now += seconds
        self._done += seconds * self._rate
        answered = min(int(self._done), self.there)
        self._done -= int(self._done)
        self.there -= answered
        self.answered += answered
        return answered


def overloaded(door: Door, seconds: float, times: float) -> list[tuple[float, int]]:
    """When and how many waited, with arrivals of so many times what can be done."""
    seen = []
    until = door.now + seconds
    owed = 0.0
    while door.now < until:
        door.passes(0.01)
        owed += times
        while owed >= 1:
            door.arrives()
            owed -= 1
        seen.append((door.now, door.waiting))
    return seen


def test_a_burst_may_all_wait() -> None:
    door = Door()
    assert all(door.arrives() for _ in range(MOST + BUSY))
    assert door.waiting == MOST
    assert not door.arrives()


def test_no_more_wait_than_may_in_all() -> None:
    room = QueueRoom(2)
    assert [room.admits(0.0, waiting=n, running=1) for n in range(3)] == [True, True, False]


def test_callers_who_ask_again_as_soon_as_they_are_answered_are_never_refused() -> None:
    door = Door()
    assert all(door.arrives() for _ in range(100))
    for _ in range(6000):
        for _ in range(door.passes(0.01)):
            assert door.arrives()
    assert door.there == 100


def test_where_more_arrive_than_can_be_served_the_queue_is_soon_short() -> None:
    seen = overloaded(Door(), 60, times=2)
    most_growing = int(BURST_SECONDS * 100) + 2
    assert max(waiting for _, waiting in seen) <= most_growing + BUSY
    waited = sorted(waiting for at, waiting in seen if at > 1)
    assert waited[len(waited) * 9 // 10] == SHORT_QUEUE


def test_a_burst_of_before_leaves_no_places_for_that() -> None:
    door = Door()
    assert all(door.arrives() for _ in range(MOST))
    door.passes(2)
    seen = overloaded(door, 3, times=2)
    assert max(waiting for _, waiting in seen) <= BURST_SECONDS * 100 + 2 + BUSY


def test_it_serves_as_much_as_it_can_meanwhile() -> None:
    door = Door()
    overloaded(door, 60, times=2)
    assert door.answered > 0.99 * 60 * 100


def test_after_the_load_there_is_room_for_a_burst_again() -> None:
    door = Door()
    overloaded(door, 10, times=2)
    door.passes(CALM_SECONDS + 1)
    assert all(door.arrives() for _ in range(MOST))


def test_shortly_after_the_load_there_is_not() -> None:
    door = Door()
    overloaded(door, 5.5, times=2)
    door.passes(CALM_SECONDS / 2)
    assert door.there == 0
    assert [door.arrives() for _ in range(MOST)].count(True) == BUSY + SHORT_QUEUE


def test_callers_who_all_fit_are_let_in_although_they_never_cease_to_ask() -> None:
    door = Door()
    assert all(door.arrives() for _ in range(MOST + BUSY))
    for _ in range(200):
        door.arrives()
    callers = 100
    refused = 0
    while door.now < 5:
        door.passes(0.01)
        for _ in range(callers - door.there):
            refused_now = not door.arrives()
            refused += refused_now and door.now > 2 * FULL_SECONDS
    assert (door.there, refused) == (callers, 0)


def test_the_longer_the_load_lasts_the_rarer_the_queue_grows() -> None:
    seen = overloaded(Door(), 200, times=2)
    grown = [at for (_, before), (at, now) in pairwise(seen) if before <= SHORT_QUEUE < now]
    began = [at for n, at in enumerate(grown) if n == 0 or at - grown[n - 1] > FULL_SECONDS / 2]
    waits = [round(later - earlier) for earlier, later in pairwise(began)]
    assert waits[:5] == [1, 2, 4, 8, 16]
    assert set(waits[5:]) == {int(MOST_FULL_SECONDS)}


def test_after_a_calm_it_grows_again_as_soon_as_at_first() -> None:
    door = Door()
    overloaded(door, 40, times=2)
    door.passes(CALM_SECONDS + 1)
    seen = overloaded(door, 3, times=2)
    assert [at for at, waiting in seen if waiting > SHORT_QUEUE][-1] > door.now - 3 + FULL_SECONDS
