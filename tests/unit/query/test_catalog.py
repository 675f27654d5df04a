import pytest

from config_core.errors import (
    CollectionNotFoundError,
    DocumentNotFoundError,
    InvalidArgumentError,
)
from query.errors import StoreFailedError
from query.indexing import SourceDocument
from tests.unit.query.world import E5, TENANT, World


async def test_pages_hold_every_collection_once_and_in_order(world: World) -> None:
    for name in ("c", "a", "e", "b", "d"):
        await world.index([SourceDocument("d", "Un texto.")], world.options(name))
    names, token, sizes = [], "", []
    while True:
        page, token = await world.catalog.list_collections(TENANT, 2, token)
        names += [collection.name for collection in page]
        sizes.append(len(page))
        if not token:
            break
    assert (names, sizes) == (["a", "b", "c", "d", "e"], [2, 2, 1])


@pytest.mark.parametrize("token", ["made up", "é", "bm90aGluZzo=", "x" * 5000])
async def test_a_made_up_page_token_is_the_callers_mistake(world: World, token: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await world.catalog.list_collections(TENANT, 10, token)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


async def test_a_collection_is_described_with_its_space_and_counts(world: World) -> None:
    await world.fill()
    collection = await world.catalog.get_collection(TENANT, "cities")
    assert (collection.space, collection.endpoint) == (E5, "")
    assert (collection.document_count, collection.chunk_count) == (4, 4)


async def test_an_unknown_collection_is_not_found(world: World) -> None:
    with pytest.raises(CollectionNotFoundError) as caught:
        await world.catalog.get_collection(TENANT, "cities")
    assert caught.value.metadata == {"collection": "cities"}


async def test_pages_hold_every_document_once_and_in_order(world: World) -> None:
    await world.fill()
    ids, token, sizes = [], "", []
    while True:
        page, token = await world.catalog.list_documents(TENANT, "cities", 3, token)
        ids += [document.document_id for document in page]
        sizes.append(len(page))
        if not token:
            break
    assert (ids, sizes) == (["berlin", "madrid", "paris", "roma"], [3, 1])


async def test_documents_of_an_unknown_collection_are_not_listed(world: World) -> None:
    with pytest.raises(CollectionNotFoundError):
        await world.catalog.list_documents(TENANT, "cities", 10, "")


async def test_a_made_up_token_of_documents_is_the_callers_mistake(world: World) -> None:
    await world.fill()
    with pytest.raises(InvalidArgumentError) as caught:
        await world.catalog.list_documents(TENANT, "cities", 10, "made up")
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


async def test_deleted_and_missing_documents_are_told_apart_each_once(world: World) -> None:
    await world.fill()
    asked = ["nowhere", "paris", "madrid", "paris", "nowhere"]
    deleted, missing = await world.catalog.delete_documents(TENANT, "cities", asked)
    assert (deleted, missing) == (["paris", "madrid"], ["nowhere"])
    assert (await world.catalog.get_collection(TENANT, "cities")).document_count == 2


async def test_deleted_documents_are_found_no_more(world: World) -> None:
    await world.fill()
    await world.catalog.delete_documents(TENANT, "cities", ["madrid"])
    found = await world.search("Madrid capital de España")
    assert {each.hit.document_id for each in found.passages} == {"paris", "berlin", "roma"}


async def test_no_document_to_delete_is_not_found(world: World) -> None:
    await world.fill()
    with pytest.raises(DocumentNotFoundError) as caught:
        await world.catalog.delete_documents(TENANT, "cities", ["nowhere"])
    assert caught.value.metadata == {"collection": "cities"}


async def test_documents_of_an_unknown_collection_are_not_deleted(world: World) -> None:
    with pytest.raises(CollectionNotFoundError):
        await world.catalog.delete_documents(TENANT, "cities", ["madrid"])


async def test_a_deleted_collection_is_gone_and_can_be_made_anew(world: World) -> None:
    await world.fill()
    await world.catalog.delete_collection(TENANT, "cities")
    with pytest.raises(CollectionNotFoundError):
        await world.catalog.delete_collection(TENANT, "cities")
    await world.fill(embedding_provider="openai", embedding_model="tiny")
    collection = await world.catalog.get_collection(TENANT, "cities")
    assert collection.space.model == "tiny"


async def test_another_tenant_sees_and_deletes_nothing(world: World) -> None:
    await world.fill()
    assert await world.catalog.list_collections("other", 10, "") == ([], "")
    for attempt in (
        world.catalog.get_collection("other", "cities"),
        world.catalog.delete_collection("other", "cities"),
        world.catalog.delete_documents("other", "cities", ["madrid"]),
        world.catalog.list_documents("other", "cities", 10, ""),
        world.search("capital", tenant="other"),
    ):
        with pytest.raises(CollectionNotFoundError):
            await attempt
    assert (await world.catalog.get_collection(TENANT, "cities")).document_count == 4


async def test_a_store_that_can_not_work_is_a_failure_and_no_fault(world: World) -> None:
    await world.store.close()
    with pytest.raises(StoreFailedError):
        await world.catalog.get_collection(TENANT, "cities")
