"""The words of a text as full text compares them."""

import threading

import pytest

from query.store.analysis import MAX_TERM_LENGTH, query_terms, terms

FAMILIES = """
canción canciones
correr corriendo corre corrían corrió
niño niños niña niñas
ciudad ciudades
trabajar trabajo trabajos trabajando trabajador trabajadores
pagar pago pagos pagó pagado
configuración configuraciones configurar configurado
factura facturas facturar facturación
rápido rápida rápidamente
lápiz lápices
vez veces
luz luces
juez jueces
índice índices
mujer mujeres
día días
library libraries
run runs running
city cities
server servers
user users
member members
number numbers numbered
plan plans planned planning
stop stops stopped stopping
study studies studied studying
policy policies
query queries
retry retries retried
process processes processing processed
quick quickly
deploy deploys deployed deployment
client clients cliente clientes
hotel hotels hoteles
"""
STRANGERS = """
universe university
policy police
general generate
past pasado
mesa mesura
peso pez
casa caza
hot hotel
host hostel
cuenta cuesta
red rey
"""


@pytest.mark.parametrize("family", FAMILIES.strip().splitlines())
def test_the_forms_of_a_word_are_one_term(family: str) -> None:
    assert len({tuple(terms(word)) for word in family.split()}) == 1


@pytest.mark.parametrize("pair", STRANGERS.strip().splitlines())
def test_different_words_are_different_terms(pair: str) -> None:
    first, second = pair.split()
    assert terms(first) != terms(second)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("CANCIÓN", "canción"),
        ("corazo\u0301n", "corazon"),
        ("Ελλάδα", "ελλαδα"),
        ("Ёлка", "елка"),
        ("ﬁnal ②", "final 2"),
        ("straße", "STRASSE"),
        ("the team's report", "the team report"),
        ("team’s", "team"),
        ("we'll refund", "we refund"),
        ("1.250.000,50 €", "1250000 50"),
        ("1,250,000.50", "1250000 50"),
        ("v2.1", "v2 1"),
        ("ana.pérez@example.com", "ana perez example com"),
        ("état-major", "etat major"),
    ],
)
def test_spellings_that_mean_the_same_are_the_same(text: str, same: str) -> None:
    assert terms(text) == terms(same) != []


@pytest.mark.parametrize("text", ["3.14", "10.0.0.1", "2024.123", "a1.000", "1.0000", "1,23"])
def test_only_thousands_are_joined(text: str) -> None:
    assert len(terms(text)) == len(text.replace(",", ".").split("."))


@pytest.mark.parametrize(
    "question",
    [
        "¿Cuál es la capital de Francia?",
        "What is the capital of Francia?",
        "capital CAPITAL Francia",
    ],
)
def test_a_question_is_reduced_to_what_it_is_about(question: str) -> None:
    assert query_terms(question) == terms("capital francia")


@pytest.mark.parametrize("question", ["¿Y de qué?", "to be or not to be"])
def test_a_question_of_function_words_alone_is_kept(question: str) -> None:
    assert query_terms(question) == list(dict.fromkeys(terms(question))) != []


@pytest.mark.parametrize("word", ["note", "noted", "mora", "ondas", "user"])
def test_a_word_whose_stem_is_that_of_a_function_word_is_asked_for(word: str) -> None:
    assert query_terms(f"the {word} bridge") == terms(f"{word} bridge")


@pytest.mark.parametrize("text", ["", "¿?", "'s", "📚"])
def test_a_text_without_words_asks_for_nothing(text: str) -> None:
    assert query_terms(text) == terms(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("猫", ["猫"]),
        ("python入門", ["python", "入門"]),
        ("第3章", ["第", "3", "章"]),
    ],
)
def test_scripts_without_spaces_become_pairs(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize("text", ["مُدَرِّس", "मुंबई", "שָׁלוֹם"])
def test_marks_that_make_the_word_stay(text: str) -> None:
    assert terms(text) == [text]


@pytest.mark.parametrize("text", ["", " ", "¿?", "📚", "\x00", "'"])
def test_a_text_without_words_has_no_terms(text: str) -> None:
    assert terms(text) == []


def test_a_term_has_no_space_and_a_bounded_length() -> None:
    for term in terms("x" * 1000 + " ｱ\u00a0b\u2003c\u3000d\ue000 ½ ㎏"):
        assert term
        assert not any(map(str.isspace, term))
        assert len(term) <= MAX_TERM_LENGTH


@pytest.mark.parametrize("other", ["猫", "шаг", "e\u0301\u0300", "📚"])
def test_a_word_of_another_script_changes_nothing_of_the_others(other: str) -> None:
    for c in map(chr, (*range(0x300), *range(0x2000, 0x2100))):
        text = f"{c} a{c}b A{c} {c}1 1{c}000 it{c}s snake_{c} {c}-{c} {c * 200}"
        assert terms(f"{text} {other}") == terms(text) + terms(other)


def test_a_latin_word_has_a_bounded_length() -> None:
    assert terms("x" * 1000 + " é" + "x" * 1000) == ["x" * 128, "e" + "x" * 127]


def test_threads_at_once_agree() -> None:
    words = [f"{stem}{n}iendo{end}" for n in range(300) for stem in "abc" for end in ("", "s")]
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(terms(" ".join(words)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(each) for each in found}) == 1
