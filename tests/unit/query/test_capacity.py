import asyncio

from query.capacity import Capacity


async def waits(capacity: Capacity, weight: int) -> bool:
    """Whether a document of this weight has to wait; if not, it is in."""
    taking = asyncio.create_task(capacity.take(weight))
    for _ in range(5):
        await asyncio.sleep(0)
    if not taking.done():
        taking.cancel()
        await asyncio.wait([taking])
        return True
    return False


async def test_documents_are_let_in_up_to_their_number() -> None:
    capacity = Capacity(2, 100)
    assert [await waits(capacity, 1) for _ in range(3)] == [False, False, True]
    capacity.give(1)
    assert not await waits(capacity, 1)


async def test_documents_are_let_in_up_to_their_weight() -> None:
    capacity = Capacity(10, 100)
    assert [await waits(capacity, weight) for weight in (60, 40, 1)] == [False, False, True]
    capacity.give(40)
    assert [await waits(capacity, weight) for weight in (41, 40)] == [True, False]


async def test_one_that_is_too_heavy_goes_alone() -> None:
    capacity = Capacity(10, 100)
    assert [await waits(capacity, weight) for weight in (500, 1)] == [False, True]
    capacity.give(500)
    assert [await waits(capacity, weight) for weight in (1, 500)] == [False, True]


async def test_whoever_waits_is_let_in_when_there_is_room() -> None:
    capacity = Capacity(1, 100)
    await capacity.take(5)
    waiting = asyncio.create_task(capacity.take(7))
    await asyncio.sleep(0)
    capacity.give(5)
    await waiting
    assert await waits(capacity, 1)
