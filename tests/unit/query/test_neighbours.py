import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from config_core.errors import CollectionNotFoundError
from query.neighbours import widened
from query.retrieval import Found
from query.store import Chunk, Document, Store
from tests.unit.query.passages import passage
from tests.unit.query.world import E5, TENANT, vector_of

TEXT = "Uno. Dos.\n\nTres. Cuatro. Cinco.\n- seis\n- siete"
PIECES = ["Uno. Dos.", "Dos.\n\nTres.", "Cuatro.", "Cinco.", "- seis", "- siete"]


async def store_document(
    store: Store, name: str = "d", pieces: Sequence[str] = PIECES, text: str = TEXT
) -> None:
    """Write a document whose passages are pieces of a text, some repeating the end of another."""
    chunks = [
        Chunk(
            chunk_id=f"{name}#{position}",
            position=position,
            text=piece,
            start=text.index(piece),
            end=text.index(piece) + len(piece),
            section=f"S{position}",
            vector=vector_of(piece, E5),
        )
        for position, piece in enumerate(pieces)
    ]
    await store.put_document(TENANT, "c", E5, "", Document(name, name, "", {}, "hash", chunks))


def hit(position: int, name: str = "d", pieces: Sequence[str] = PIECES) -> Found:
    """The passage at a position, as a search finds it."""
    text = pieces[position]
    start = TEXT.index(text)
    return passage(
        name, text, position=position, start=start, end=start + len(text), section=f"S{position}"
    )


async def join(store: Store, neighbours: int, *passages: Found) -> list[Found]:
    return await widened(store, TENANT, passages, neighbours, asyncio.Semaphore(8))


@pytest.fixture
async def store(store_of_world: Store) -> Store:
    await store_document(store_of_world)
    return store_of_world


async def test_a_passage_is_joined_with_those_on_either_side(store: Store) -> None:
    [found] = await join(store, 1, hit(2))
    assert found.hit.text == "Dos.\n\nTres. Cuatro. Cinco."
    assert TEXT[found.hit.start : found.hit.end] == found.hit.text


async def test_what_a_passage_repeats_of_the_one_before_stands_once(store: Store) -> None:
    [found] = await join(store, 1, hit(0))
    assert found.hit.text == "Uno. Dos.\n\nTres."
    assert (found.hit.start, found.hit.end) == (0, 16)


async def test_the_lines_of_a_list_stay_lines(store: Store) -> None:
    [found] = await join(store, 2, hit(5))
    assert found.hit.text == "Cinco.\n- seis\n- siete"


async def test_white_space_that_is_not_stored_becomes_an_empty_line(store: Store) -> None:
    await store_document(store, "e", ["A.", "B."], "A. \n\n \n B.")
    [found] = await join(store, 1, passage("e", "A.", start=0, end=2))
    assert found.hit.text == "A.\n\nB."


async def test_a_passage_that_does_not_repeat_what_its_offsets_say_is_kept_whole(
    store: Store,
) -> None:
    chunks = [
        Chunk("e#0", 0, "Uno dos", 0, 7, "", vector_of("a", E5)),
        Chunk("e#1", 1, "tres", 4, 8, "", vector_of("b", E5)),
    ]
    await store.put_document(TENANT, "c", E5, "", Document("e", "", "", {}, "h", chunks))
    [found] = await join(store, 1, passage("e", "Uno dos", start=0, end=7))
    assert found.hit.text == "Uno dos\n\ntres"


async def test_all_but_text_and_offsets_stays_the_hits(store: Store) -> None:
    [found] = await join(store, 5, replace(hit(2), hit=replace(hit(2).hit, score=0.25)))
    same = replace(found.hit, text="", start=0, end=0)
    assert same == replace(hit(2).hit, text="", start=0, end=0, score=0.25)


async def test_the_passage_alone_is_kept_beside_it(store: Store) -> None:
    [found] = await join(store, 1, hit(2))
    assert found.core == hit(2).hit


@pytest.mark.parametrize(("positions", "count"), [((1, 2), 1), ((0, 3), 1), ((0, 4), 2)])
async def test_windows_that_touch_or_overlap_become_one(
    store: Store, positions: tuple[int, int], count: int
) -> None:
    found = await join(store, 1, *map(hit, positions))
    assert len(found) == count


async def test_the_better_ranked_gives_the_joined_its_name_and_place(store: Store) -> None:
    await store_document(store, "e")
    found = await join(store, 1, hit(3), hit(2, "e"), hit(1))
    assert [each.hit.chunk_id for each in found] == ["d#3", "e#2"]
    assert (found[0].hit.start, found[0].hit.end) == (0, TEXT.index("- seis") + 6)
    assert found[0].core == hit(3).hit


async def test_many_hits_of_one_document_are_read_in_one_piece(store: Store) -> None:
    [found] = await join(store, 1, *(hit(position) for position in (5, 0, 3, 1, 4, 2)))
    assert (found.hit.text, found.hit.chunk_id) == (TEXT, "d#5")


async def test_the_same_document_of_two_collections_is_two(store: Store) -> None:
    document = Document("d", "d", "", {}, "h", [Chunk("d#0", 0, "X", 0, 1, "", vector_of("x", E5))])
    await store.put_document(TENANT, "other", E5, "", document)
    found = await join(store, 1, hit(0), passage("d", "X", collection="other"))
    assert [each.collection for each in found] == ["c", "other"]
    assert [each.hit.text for each in found] == ["Uno. Dos.\n\nTres.", "X"]


async def test_a_document_that_was_replaced_meanwhile_keeps_its_hits(store: Store) -> None:
    found = [hit(1), hit(2)]
    await store_document(store, pieces=["Siete", "Ocho"], text="Siete Ocho")
    assert await join(store, 1, *found) == found


async def test_a_document_that_is_gone_keeps_its_hits(store: Store) -> None:
    await store.delete_documents(TENANT, "c", ["d"])
    assert await join(store, 1, hit(1)) == [hit(1)]


async def test_a_collection_that_is_gone_is_not_found(store: Store) -> None:
    await store.delete_collection(TENANT, "c")
    with pytest.raises(CollectionNotFoundError):
        await join(store, 1, hit(1))


async def test_only_so_many_calls_run_at_a_time(store: Store) -> None:
    running = most = 0
    get_chunks = store.get_chunks

    async def counted(*arguments: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        try:
            return await get_chunks(*arguments)
        finally:
            running -= 1

    for name in "efghij":
        await store_document(store, name)
    setattr(store, "get_chunks", counted)  # noqa: B010 # its arguments go by place
    found = [hit(2, name) for name in "defghij"]
    assert len(await widened(store, TENANT, found, 1, asyncio.Semaphore(3))) == 7
    assert most == 3
