from itertools import pairwise

from service_core.queue_room import (
    CALM_QUEUE,
    CALM_SECONDS,
    FULL_SECONDS,
    GROWING_BEGUN,
    GROWING_SECONDS,
    LATE_SECONDS,
    LATELY_SECONDS,
    MOST_FULL_SECONDS,
    SHORT_QUEUE,
    SPARE_PLACES,
    QueueRoom,
)

MOST = 128
BUSY = 12
RATE = 100.0
LONGEST = max(CALM_QUEUE, SHORT_QUEUE + GROWING_BEGUN + SPARE_PLACES) + 2
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
        begun = self.answered + running
        admitted = self.room.admits(self.now, waiting=self.waiting, running=running, begun=begun)
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
    admitted = [room.admits(0.0, waiting=n, running=1, begun=1) for n in range(3)]
    assert admitted == [True, True, False]


def test_a_burst_that_takes_its_time_may_all_wait_where_nobody_begins_meanwhile() -> None:
    room = QueueRoom(MOST)
    step = GROWING_SECONDS * 0.9 / MOST
    waits = [room.admits(n * step, waiting=n, running=1, begun=1) for n in range(MOST)]
    assert all(waits)


def test_the_queue_does_not_grow_for_long_where_nobody_begins_at_all() -> None:
    room = QueueRoom(MOST)
    assert room.admits(0.0, waiting=SHORT_QUEUE - 1, running=1, begun=1)
    assert room.admits(GROWING_SECONDS * 0.9, waiting=SHORT_QUEUE, running=1, begun=1)
    late = CALM_QUEUE
    assert not room.admits(GROWING_SECONDS * 1.1, waiting=late, running=1, begun=1)


def test_callers_who_ask_again_as_soon_as_they_are_answered_are_never_refused() -> None:
    door = Door()
    assert all(door.arrives() for _ in range(100))
    for _ in range(6000):
        for _ in range(door.passes(0.01)):
            assert door.arrives()
    assert door.there == 100


def test_nor_are_those_of_them_who_were_on_their_way_at_first() -> None:
    door = Door()
    callers = CALM_QUEUE + BUSY + 20
    assert all(door.arrives() for _ in range(callers - SPARE_PLACES))
    for _ in range(6000):
        answered = door.passes(0.01)
        away = SPARE_PLACES if door.answered < 2 * GROWING_BEGUN else 0
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


def test_callers_that_become_more_one_by_one_may_wait_after_a_calm() -> None:
    door = Door()
    overloaded(door, 5)
    door.passes(CALM_SECONDS + 1)
    for callers in range(CALM_QUEUE + BUSY):
        for _ in range(100):
            door.passes(0.01)
            while door.there <= callers:
                assert door.arrives()
    assert door.waiting == CALM_QUEUE


def test_who_has_waited_long_is_dropped_while_others_are_refused() -> None:
    room = QueueRoom(0)
    assert not room.drops(10.0, since=0.0)
    assert not room.admits(10.0, waiting=0, running=1, begun=1)
    assert room.drops(10.0, since=10 - 1.1 * LATE_SECONDS)
    assert not room.drops(10.0, since=10 - 0.9 * LATE_SECONDS)
    assert not room.drops(10 + 1.1 * LATELY_SECONDS, since=0.0)


def test_his_place_is_gone_too() -> None:
    room = QueueRoom(MOST)
    assert all(room.admits(0.0, waiting=n, running=1, begun=1) for n in range(MOST))
    assert not room.admits(0.5, waiting=MOST, running=1, begun=1)
    there = {"waiting": MOST - 10, "running": 1, "begun": 100}
    assert room.admits(0.5, **there)
    assert all(room.drops(0.5, since=0.0) for _ in range(15))
    assert not room.admits(0.5, **there)


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
    assert waits[:4] == [FULL_SECONDS * 2**n for n in range(4)]
    assert set(waits[4:]) == {MOST_FULL_SECONDS}


def test_after_a_calm_it_grows_again_as_soon_as_at_first() -> None:
    door = Door()
    overloaded(door, 40)
    door.passes(CALM_SECONDS + 1)
    began = door.now
    seen = overloaded(door, 2 * FULL_SECONDS)
    assert max(at for at, waiting in seen if waiting > SHORT_QUEUE) - began > FULL_SECONDS
