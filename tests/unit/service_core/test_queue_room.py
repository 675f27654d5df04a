from itertools import pairwise

from service_core.queue_room import (
    BURST_SECONDS,
    CALM_SECONDS,
    FULL_SECONDS,
    MOST_FULL_SECONDS,
    SHORT_QUEUE,
    SPARE_PLACES,
    QueueRoom,
)

MOST = 128
BUSY = 12
RATE = 100.0
LONGEST = SHORT_QUEUE + BURST_SECONDS * RATE + SPARE_PLACES + 2
"""What the queue grows to where twice as many arrive as can be served."""


class Door:
    """A server that works on so many requests at once and so many a second, in simulated time."""

    def __init__(self) -> None:
        self.room = QueueRoom(MOST)
        self.now = 0.0
        self.there = 0
        self.answered = 0
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
        self._done += seconds * RATE
        answered = min(int(self._done), self.there)
        self._done -= int(self._done)
        self.there -= answered
        self.answered += answered
        return answered


def overloaded(door: Door, seconds: float) -> list[tuple[float, int]]:
    """When and how many waited, with twice as many arrivals as can be served."""
    seen = []
    until = door.now + seconds
    while door.now < until:
        door.passes(1 / RATE)
        door.arrives()
        door.arrives()
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


def test_nor_are_those_of_them_who_were_on_their_way_at_first() -> None:
    door = Door()
    callers = 60
    assert all(door.arrives() for _ in range(callers - SPARE_PLACES))
    for _ in range(6000):
        answered = door.passes(0.01)
        away = SPARE_PLACES if door.now < 2 * BURST_SECONDS else 0
        for _ in range(callers - away - door.there):
            assert door.arrives()
        assert answered
    assert door.there == callers


def test_a_few_may_wait_although_the_queue_was_longer_when_it_could_not_grow() -> None:
    door = Door()
    overloaded(door, 20)
    while door.waiting >= SHORT_QUEUE:
        door.passes(0.01)
    assert door.arrives()


def test_where_more_arrive_than_can_be_served_the_queue_is_soon_short() -> None:
    seen = overloaded(Door(), 60)
    assert max(waiting for _, waiting in seen) <= LONGEST
    waited = sorted(waiting for _, waiting in seen)
    assert waited[len(waited) * 95 // 100] == SHORT_QUEUE


def test_a_burst_of_before_leaves_no_places_for_that() -> None:
    door = Door()
    assert all(door.arrives() for _ in range(MOST))
    door.passes(2)
    assert max(waiting for _, waiting in overloaded(door, 3)) <= LONGEST


def test_it_serves_as_much_as_it_can_meanwhile() -> None:
    door = Door()
    overloaded(door, 60)
    assert door.answered > 0.99 * 60 * RATE


def test_after_the_load_there_is_room_for_a_burst_again() -> None:
    door = Door()
    overloaded(door, 10)
    door.passes(CALM_SECONDS + 1)
    assert all(door.arrives() for _ in range(MOST))


def test_shortly_after_the_load_there_is_not() -> None:
    door = Door()
    overloaded(door, 5)
    door.passes(CALM_SECONDS / 2)
    assert door.there == 0
    assert [door.arrives() for _ in range(MOST)].count(True) == BUSY + SHORT_QUEUE


def test_callers_who_all_fit_are_let_in_although_they_never_cease_to_ask() -> None:
    door = Door()
    assert all(door.arrives() for _ in range(MOST + BUSY))
    for _ in range(200):
        door.arrives()
    callers, refused = 100, 0
    while door.now < 3 * FULL_SECONDS:
        door.passes(0.01)
        for _ in range(callers - door.there):
            refused += not door.arrives() and door.now > 2 * FULL_SECONDS
    assert (door.there, refused) == (callers, 0)


def test_the_longer_the_load_lasts_the_rarer_the_queue_grows() -> None:
    seen = overloaded(Door(), 200)
    grown = [at for (_, before), (at, now) in pairwise(seen) if before <= SHORT_QUEUE < now]
    waits = [round(later - earlier) for earlier, later in pairwise(grown)]
    assert waits[:5] == [FULL_SECONDS * 2**n for n in range(5)]
    assert set(waits[5:]) == {MOST_FULL_SECONDS}


def test_after_a_calm_it_grows_again_as_soon_as_at_first() -> None:
    door = Door()
    overloaded(door, 40)
    door.passes(CALM_SECONDS + 1)
    began = door.now
    seen = overloaded(door, 2 * FULL_SECONDS)
    assert max(at for at, waiting in seen if waiting > SHORT_QUEUE) - began > FULL_SECONDS
