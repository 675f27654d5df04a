"""The contract of full text: forms of words in Spanish and English, every script, any syntax."""

# ruff: noqa: D102 - these are tests, named by their claims

import math

import pytest

from query.store.analysis import query_terms, terms
from query.store.port import Store
from query.store.testing.corpus import WORDS, BruteForce, corpus, document, fill
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import ids, words

LONG = 200_000


def bm25(texts: dict[str, str], question: str) -> dict[str, float]:
    """The score of each text with any of the question's terms, from the definition of bm25."""
    split = {key: terms(text) for key, text in texts.items()}
    average = sum(len(found) for found in split.values()) / len(split)
    scores = dict.fromkeys(split, 0.0)
    for term in query_terms(question):
        having = sum(term in found for found in split.values())
        weight = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
        for key, found in split.items():
            count = found.count(term)
            scores[key] += (
                weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(found) / average))
            )
    return {key: score for key, score in scores.items() if score}


class LanguageContract(Guarantees):
    """A question finds the passages that hold its words, in whatever form or script."""

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("el corazón de la montaña", "CORAZON"),
            ("el corazon de la montana", "corazo\u0301n"),
            ("Las canciones de cuna", "canción"),
            ("Una canción de cuna", "CANCIONES"),
            ("va corriendo por el parque", "correr"),
            ("quiero correr", "¿corriendo?"),
            ("los trabajadores", "trabajador"),
            ("configuración del equipo", "configurar"),
            ("the orchard's lantern", "Lantern?"),
            ("two libraries", "library"),
            ("the Library", "libraries"),
            ("she was running", "runs"),
            ("it runs", "running"),
            ("the cities", "city"),
            ("Straße", "STRASSE"),
            ("ﬁnal e\u0301dition", "final"),  # a ligature
            ("Привет, мир", "МИР"),
            ("στην Αθήνα το πρωί", "ΑΘΗΝΑ"),
            ("नमस्ते मुंबई", "मुंबई"),
            ("مرحبا بالعالم", "بالعالم"),
            ("東京 タワー", "東京"),
            ("昨日は東京タワーに行きました", "東京タワー"),
            ("我们在北京大学学习", "北京大学"),
            ("กรุงเทพมหานคร", "กรุงเทพ"),
            ("ＡＢＣ１２３", "abc123"),
            ("nul \x00needle\x00 here", "needle"),
        ],
    )
    async def test_forms_of_a_word_find_one_another_in_every_script(
        self, store: Store, text: str, query: str
    ) -> None:
        await fill(store, "t", "c", [document("d", [text]), document("e", ["unrelated"])])
        (hit,) = await store.search("t", "c", words(query))
        assert hit.text == text

    @pytest.mark.parametrize(
        ("text", "query"),
        [("東京タワー", "京都"), ("北京大学", "京北"), ("मुंबई", "मंबई"), ("corazón", "coraza")],
    )
    async def test_another_word_finds_nothing(self, store: Store, text: str, query: str) -> None:
        await fill(store, "t", "c", [document("d", [text])])
        assert await store.search("t", "c", words(query)) == []

    async def test_a_text_of_the_greatest_length_is_found(self, store: Store) -> None:
        length = LONG if self.longest_text is None else min(self.longest_text, LONG)
        text = "x" * (length - 7) + " needle"
        await fill(store, "t", "c", [document("d", [text]), document("e", ["unrelated"])])
        (hit,) = await store.search("t", "c", words("needle"))
        assert hit.text == text
        (chunk,) = await store.get_chunks("t", "c", "d")
        assert chunk.text == text

    async def test_a_text_longer_than_the_engine_takes_is_refused(self, store: Store) -> None:
        if self.longest_text is None:
            pytest.skip("the engine takes any length")
        await fill(store, "t", "c", [document("d", ["kept"])])
        with pytest.raises(ValueError, match="text"):
            await fill(store, "t", "c", [document("d", ["x" * (self.longest_text + 1)])])
        assert len(await store.search("t", "c", words("kept"))) == 1

    @pytest.mark.parametrize("text", ["", "   ", "¿?", '"', "*", "( ) : ^ - +", "📚", "absent"])
    async def test_a_text_without_a_known_word_finds_nothing(self, store: Store, text: str) -> None:
        await fill(store, "t", "c", corpus(8))
        assert await store.search("t", "c", words(text)) == []

    @pytest.mark.parametrize(
        "frame", ['"{}', "{}*", "NOT {}", "terms:{}", "{} AND (", "NEAR({}", "{}:*", "!{}", "{}\\'"]
    )
    async def test_query_syntax_is_only_text(self, store: Store, frame: str) -> None:
        await fill(store, "t", "c", corpus(20))
        for word in WORDS[:4]:
            hits = await store.search("t", "c", words(frame.format(word)))
            assert set(ids(hits)) == BruteForce(corpus(20)).containing(word)

    async def test_a_question_of_very_many_words_is_answered(self, store: Store) -> None:
        await fill(store, "t", "c", corpus(8))
        question = " ".join(f"word{n}" for n in range(3000))
        assert await store.search("t", "c", words(question)) == []
        assert await store.search("t", "c", words(f"{question} corazón {WORDS[1]}"))

    async def test_scores_are_bm25_of_the_collection_alone(self, store: Store) -> None:
        if not self.bm25_scores:
            pytest.skip("the engine scores its own way")
        documents = [*corpus(20), document("long", ["winter " * 9 + "copper " * 40, "", "luz"])]
        texts = {chunk.chunk_id: chunk.text for chunk in BruteForce(documents).chunks}
        await fill(store, "t", "c", documents)
        await fill(store, "u", "c", [document("u", ["winter " * 50, "copper lantern"] * 40)])
        await fill(store, "t", "c", [document("gone", ["winter " * 50, "copper"] * 10)])
        await store.delete_documents("t", "c", ["gone"])
        question = "winter COPPER lúz winter"
        hits = await store.search("t", "c", words(question))
        assert {hit.chunk_id: hit.score for hit in hits} == pytest.approx(bm25(texts, question))
