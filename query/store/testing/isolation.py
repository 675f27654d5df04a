"""The contract of isolation: no tenant meets another, whatever names and filters are crafted."""

# ruff: noqa: D102 - these are tests, named by their claims

import asyncio

import pytest

from query.store.errors import CollectionNotFoundError
from query.store.model import Equals, Filter, OneOf, Range, staged
from query.store.port import Store
from query.store.testing.corpus import CRAFTED, document, fill
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import dense, hybrid, words

INJECTED = (
    "%", "_", "sec%", "s_cret", "*", "sec*", "?", "[a-z]*", "\\", "\\\\", "\\'", "$", "$.secret",
    "$[*]", "secret.secret", 'secret"]', "metadata['secret']", "['secret']", "\x00", "secret\x00",
    "' OR '1'='1", "' OR 1=1 --", '" OR ""="', "') OR ('1'='1", "x' UNION SELECT 1 --",
    "' or tenant != '", '" or tenant != "', 'tenant == "theirs"', "1 or 1 == 1", "null", "NULL",
    "true", "{}", '{"$ne": null}', "${secret}", ":secret", "$1", "SECRET", "secret ", "",
)  # fmt: skip
"""Keys, values and ids that a careless adapter takes for more than text."""


class IsolationContract(Guarantees):
    """What another tenant holds does not exist."""

    async def test_tenants_never_meet(self, store: Store) -> None:
        for number, tenant in enumerate(CRAFTED):
            await fill(store, tenant, "c", [document("d", [f"shared own{number}"], seed=number)])
        await fill(store, "b", "of b alone", [document("d")])
        everything = "shared " + " ".join(f"own{n}" for n in range(30))
        for number, tenant in enumerate(CRAFTED):
            for query in (dense(100), words(everything), hybrid(100, everything)):
                hits = await store.search(tenant, "c", query)
                assert [hit.text for hit in hits] == [f"shared own{number}"]
            collections, _ = await store.list_collections(tenant, 10)
            assert [(each.name, each.document_count) for each in collections] == [("c", 1)]
            assert await store.get_collection(tenant, "of b alone") is None
        assert await store.delete_documents("a", "c", ["d"]) == ["d"]
        assert await store.delete_collection("A", "c")
        for tenant in set(CRAFTED) - {"a", "A"}:
            assert await store.get_document(tenant, "c", "d") is not None

    async def test_a_tenant_and_a_collection_do_not_run_together(self, store: Store) -> None:
        pairs = [
            ("a", "b/c"), ("a/b", "c"), ("a", "b\x1fc"), ("a\x1fb", "c"), ("ab", "c"), ("a", "bc"),
        ]  # fmt: skip
        for tenant, name in pairs:
            await fill(store, tenant, name, [document(f"{tenant}|{name}")])
        for tenant, name in pairs:
            listed, _ = await store.list_documents(tenant, name, 10)
            assert [each.document_id for each in listed] == [f"{tenant}|{name}"]

    async def test_no_method_reaches_what_another_tenant_holds(self, store: Store) -> None:
        await fill(store, "t", "mine", [document("d")])
        await fill(store, "u", "theirs", [document("secret", ["secret"])])
        await fill(store, "u", "mine", [document("secret", ["secret"])])
        assert await store.get_document("t", "theirs", "secret") is None
        assert await store.get_document("t", "mine", "secret") is None
        assert await store.get_chunks("t", "mine", "secret") == []
        assert await store.delete_documents("t", "mine", ["secret"]) == []
        assert await store.search("t", "mine", words("secret")) == []
        assert not await store.delete_collection("t", "theirs")
        for call in (
            store.search("t", "theirs", dense()),
            store.get_chunks("t", "theirs", "secret"),
            store.list_documents("t", "theirs", 10),
            store.delete_documents("t", "theirs", ["secret"]),
            store.promote_collection("t", "theirs"),
        ):
            with pytest.raises(CollectionNotFoundError):
                await call
        for name in ("theirs", "mine"):
            assert len(await store.search("u", name, words("secret"))) == 1

    async def test_no_page_token_leads_to_another_tenant(self, store: Store) -> None:
        await fill(store, "t", "c", [document(name) for name in "abc"])
        await fill(store, "u", "c", [document(name) for name in "cde"])
        _, token = await store.list_documents("t", "c", 2)
        listed, _ = await store.list_documents("u", "c", 10, token)
        assert [each.document_id for each in listed] == ["c", "d", "e"]

    async def test_crafted_filters_find_what_they_say_and_nothing_else(self, store: Store) -> None:
        mine = document("mine", ["viento mine"], {"secret": "no", "open": "yes", "size": 1})
        await fill(store, "t", "c", [mine])
        secret = document("secret", ["viento secret"], {"secret": "yes", "tenant": "theirs"})
        await fill(store, "theirs", "c", [secret])
        await fill(store, "t", "other", [secret])
        await fill(store, "t", staged("c"), [secret])
        crafted = [
            *(Filter(frozenset({text})) for text in (*INJECTED, "secret")),
            *(Filter(None, (Equals(text, "yes"),)) for text in INJECTED),
            *(Filter(None, (Equals("secret", text),)) for text in (*INJECTED, "yes")),
            *(Filter(None, (OneOf("secret", (text, f"{text})")),)) for text in INJECTED),
            *(Filter(None, (Range(text, gte=-1e300, lte=1e300),)) for text in INJECTED),
            Filter(None, (Equals("tenant", "theirs"),)),
            Filter(None, (OneOf("secret", tuple(INJECTED)),)),
        ]
        searches = [
            store.search("t", "c", query)
            for only in crafted
            for query in (dense(restriction=only), words("viento", restriction=only))
        ]
        for start in range(0, len(searches), 32):
            assert not any(await asyncio.gather(*searches[start : start + 32]))
        everything = Filter(frozenset({"mine", "secret"}))
        for query in (dense(restriction=everything), words("viento", restriction=everything)):
            assert [hit.text for hit in await store.search("t", "c", query)] == ["viento mine"]

    async def test_crafted_keys_values_and_ids_are_only_text(self, store: Store) -> None:
        texts = [text for text in dict.fromkeys((*INJECTED, *CRAFTED)) if text]
        documents = [document(text, [f"viento {n}"], {text: text}) for n, text in enumerate(texts)]
        await fill(store, "t", "c", documents)
        await fill(store, "u", "c", documents)

        async def found_by(only: Filter) -> list[str]:
            hits = await store.search("t", "c", dense(1000, restriction=only))
            return [hit.document_id for hit in hits]

        for text in texts:
            for only in (
                Filter(frozenset({text})),
                Filter(None, (Equals(text, text),)),
                Filter(frozenset(texts), (OneOf(text, (text, "absent")),)),
            ):
                assert await found_by(only) == [text]
        assert await store.delete_documents("t", "c", texts) == texts
        assert len(await store.search("u", "c", dense(1000))) == len(texts)
