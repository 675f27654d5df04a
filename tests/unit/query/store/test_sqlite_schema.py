"""The schema of the SQLite store: how a file of any version becomes one of the newest."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from query.store import Document, SchemaTooNewError, SpaceMismatchError, Store, open_store
from query.store.model import Equals, Filter
from query.store.sqlite import schema
from query.store.sqlite.connection import connect
from query.store.testing import SPACE, BruteForce, corpus, dense, document, fill, ids, words
from query.store.testing.corpus import QUERY
from query.store.vector import normalised

OLDEST = schema.MIGRATIONS[:1]
NEWEST = len(schema.MIGRATIONS)


def kind_of(value: object) -> str:
    return {bool: "boolean", str: "text"}.get(type(value), "number")


def write_oldest(path: Path, tenant: str, name: str, documents: Iterable[Document]) -> None:
    """Write documents into a file of schema 1, as the code of then did."""
    connection = connect(path)
    schema.migrate(connection, OLDEST)
    connection.execute("BEGIN")
    connection.execute(
        "INSERT INTO collections (tenant, name, provider, model, dimensions, prefix,"
        " endpoint_space, endpoint, created_at, updated_at) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (tenant, name, SPACE.provider.value, SPACE.model, SPACE.dimensions, SPACE.prefix,
         SPACE.endpoint_space, "mine", 1.0, 2.0),
    )  # fmt: skip
    collection = connection.last_insert_rowid()
    key = collection << 36
    tokens = chunks = count = 0
    for each in documents:
        connection.execute(
            "INSERT INTO documents (collection, document_id, title, source, metadata, content_hash,"
            " chunk_count) VALUES (?,?,?,?,?,?,?)",
            (collection, each.document_id, each.title, each.source, json.dumps(dict(each.metadata)),
             each.content_hash, len(each.chunks)),
        )  # fmt: skip
        count += 1
        owner = connection.last_insert_rowid()
        for name_, value in each.metadata.items():
            connection.execute(
                "INSERT INTO attributes VALUES (?,?,?,?,?)",
                (collection, name_, kind_of(value), value, owner),
            )
        for chunk in each.chunks:
            key += 1 + chunks % 2  # replaced documents left gaps
            terms = chunk.text.lower().split()
            tokens += len(terms)
            chunks += 1
            connection.execute(
                "INSERT INTO chunks VALUES (?,?,?,?,?,?,?,?,?,?)",
                (key, collection, owner, chunk.chunk_id, chunk.position, chunk.text, chunk.start,
                 chunk.end, chunk.section, len(terms)),
            )  # fmt: skip
            vector = normalised(chunk.vector, SPACE.dimensions)
            connection.execute("INSERT INTO vectors VALUES (?,?)", (key, vector))
            connection.execute(
                "INSERT INTO chunk_terms (rowid, terms) VALUES (?,?)",
                (key, " ".join(f"{collection}x{term}" for term in terms)),
            )
    connection.execute(
        "UPDATE collections SET document_count = ?, chunk_count = ?, token_count = ? WHERE id = ?",
        (count, chunks, tokens, collection),
    )
    connection.execute("COMMIT")
    connection.close()


def version_of(path: Path) -> int:
    connection = connect(path)
    (version,) = connection.execute("SELECT version FROM schema_version").fetchall()[0]
    connection.close()
    return int(str(version))


async def everything(store: Store, tenant: str, name: str) -> dict[str, list[str]]:
    listed, _ = await store.list_documents(tenant, name, 1000)
    return {
        each.document_id: [
            chunk.text for chunk in await store.get_chunks(tenant, name, each.document_id)
        ]
        for each in listed
    }


@pytest.mark.parametrize("parameters", ["", "?approximate_from=1"])
async def test_a_file_of_the_oldest_schema_is_brought_over_whole(
    tmp_path: Path, parameters: str
) -> None:
    path = tmp_path / "store.db"
    many = [document("many", [f"passage {n}" for n in range(1200)], seed=77)]
    written = [("t", "c", corpus()), ("u", "c", corpus(7)), ("t", "many", many)]
    for tenant, name, documents in written:
        write_oldest(path, tenant, name, documents)
    async with open_store(f"sqlite:///{path}{parameters}") as store:
        for tenant, name, documents in written:
            assert await everything(store, tenant, name) == {
                each.document_id: [chunk.text for chunk in each.chunks] for each in documents
            }
            brute = BruteForce(documents)
            hits = await store.search(tenant, name, dense(1000))
            assert ids(hits) == [*brute.cosines(QUERY)][:1000]
            collection = await store.get_collection(tenant, name)
            assert collection is not None
            assert (collection.space, collection.endpoint) == (SPACE, "mine")
            assert collection.chunk_count == len(brute.chunks)
        spanish = Filter(None, (Equals("language", "es"),))
        kept = BruteForce(corpus()).kept(lambda each: each.metadata["language"] == "es")
        assert (
            ids(await store.search("t", "c", dense(restriction=spanish)))
            == [*kept.cosines(QUERY)][:10]
        )
    assert version_of(path) == NEWEST
    connection = connect(path)
    assert len(connection.execute("SELECT * FROM vector_pieces").fetchall()) == len(written)
    connection.close()


async def test_what_was_brought_over_is_found_by_the_words_of_now(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    texts = ["Las canciones de cuna", "two libraries", "東京タワー"]
    write_oldest(path, "t", "c", [document("d", texts)])
    fresh = tmp_path / "fresh.db"
    async with open_store(f"sqlite:///{path}") as old, open_store(f"sqlite:///{fresh}") as new:
        await fill(new, "t", "c", [document("d", texts)])
        for question in ("canción", "library", "京タ", "cuna two"):
            found, expected = [
                [(hit.chunk_id, hit.score) for hit in await store.search("t", "c", words(question))]
                for store in (old, new)
            ]
            assert found == expected != []


async def test_what_was_brought_over_can_be_replaced_deleted_and_promoted(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    write_oldest(path, "t", "c", corpus(20))
    async with open_store(f"sqlite:///{path}") as store:
        other = replace(SPACE, model="another")
        with pytest.raises(SpaceMismatchError):
            await store.put_document("t", "c", other, "", document("e"))
        await fill(store, "t", "c", [*corpus(10), document("new", ["viento"], seed=99)])
        await store.delete_documents("t", "c", [f"doc-{number:03}" for number in range(15)])
        left = [*corpus(20)[15:], document("new", ["viento"], seed=99)]
        hits = await store.search("t", "c", dense(1000))
        assert ids(hits) == [*BruteForce(left).cosines(QUERY)]
        collection = await store.get_collection("t", "c")
        assert collection is not None
        assert collection.chunk_count == len(BruteForce(left).chunks)


async def test_processes_that_open_an_old_file_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    write_oldest(path, "t", "c", corpus(20))
    stores = [open_store(f"sqlite:///{path}") for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        assert len(await store.search("t", "c", dense(1000))) == len(BruteForce(corpus(20)).chunks)
        await store.close()
    assert version_of(path) == NEWEST


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, "t", "c", [document("d")])
    connection = connect(path)
    connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    with pytest.raises(SchemaTooNewError, match="99"):
        await open_store(f"sqlite:///{path}").open()
    assert version_of(path) == 99


@pytest.mark.parametrize("reached", range(NEWEST + 1))
def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path, reached: int) -> None:
    def broken(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE extra (a)")
        connection.execute("CREATE TABLE extra (a)")

    connection = connect(tmp_path / "store.db")
    steps: tuple[schema.Migration, ...] = (*schema.MIGRATIONS[:reached], broken)
    with pytest.raises(apsw.SQLError):
        schema.migrate(connection, steps)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    assert "extra" not in tables
    assert ("schema_version" in tables) == (reached > 0)
    schema.migrate(connection)
    assert connection.execute("SELECT version FROM schema_version").fetchall() == [(NEWEST,)]
    connection.close()
