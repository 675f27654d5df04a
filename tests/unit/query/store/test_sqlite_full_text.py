"""bm25 of the SQLite store: exact, with the statistics of one collection alone."""

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from query.store import Store, open_store
from query.store.sqlite import full_text
from query.store.testing import BruteForce, corpus, document, fill, ids, words


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


def bm25(texts: dict[str, str], *terms: str) -> dict[str, float]:
    split = {key: text.split() for key, text in texts.items()}
    average = sum(len(tokens) for tokens in split.values()) / len(split)
    scores = {}
    for key, tokens in split.items():
        score = 0.0
        for term in terms:
            having = sum(term in other for other in split.values())
            weight = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
            count = tokens.count(term)
            score += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(tokens) / average))
        if score:
            scores[key] = score
    return scores


async def scores(store: Store, tenant: str, text: str) -> dict[str, float]:
    return {hit.chunk_id: hit.score for hit in await store.search(tenant, "c", words(text))}


async def test_scores_are_bm25(store: Store) -> None:
    documents = [*corpus(30), document("long", ["winter " * 9 + "copper " * 40, "", "luz"])]
    await fill(store, "t", "c", documents)
    texts = {chunk.chunk_id: chunk.text for chunk in BruteForce(documents).chunks}
    expected = bm25(texts, "winter", "copper", "luz")
    assert await scores(store, "t", "winter COPPER lúz winter") == pytest.approx(expected)


async def test_scores_do_not_depend_on_other_tenants(store: Store) -> None:
    await fill(store, "t", "c", corpus(20))
    before = await scores(store, "t", "winter harbour")
    await fill(store, "u", "c", [document("u", ["winter " * 500, "harbour"] * 40)])
    assert await scores(store, "t", "winter harbour") == pytest.approx(before)


async def test_scores_do_not_depend_on_what_was_deleted(store: Store) -> None:
    await fill(store, "t", "c", corpus(20))
    before = await scores(store, "t", "winter harbour")
    await fill(store, "t", "c", [document("gone", ["winter " * 50, "harbour"] * 10)])
    await fill(store, "t", "c", [document("gone", ["winter harbour " * 50])])
    await store.delete_documents("t", "c", ["gone"])
    assert await scores(store, "t", "winter harbour") == pytest.approx(before)


async def test_in_a_large_collection_a_common_word_counts_only_on_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(
        store, "t", "c", [document("d", ["common harbour", "common bridge", "common river"])]
    )
    monkeypatch.setattr(full_text, "_COMMON_TERMS_COUNT_BELOW", 3)
    assert ids(await store.search("t", "c", words("common harbour"))) == ["d#0"]
    assert len(await scores(store, "t", "common")) == 3
