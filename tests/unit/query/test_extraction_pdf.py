import pytest

from query.extraction.model import ExtractionError
from query.extraction.pdf import read_pdf
from tests.unit.query.pdf_files import pdf


def test_the_text_of_all_pages_is_read_with_the_places_where_they_begin() -> None:
    extracted = read_pdf(pdf(["Hola señor (uno).", "Otra línea."], ["Página dos."]))
    assert extracted.text == "Hola señor (uno).\nOtra línea.\n\nPágina dos."
    assert extracted.pages == (0, extracted.text.index("Página"))
    assert not extracted.markdown


def test_an_empty_page_counts_as_a_page() -> None:
    extracted = read_pdf(pdf(["uno"], [], ["tres"]))
    assert extracted.text == "uno\n\ntres"
    assert extracted.pages == (0, 5, 5)


def test_a_word_that_a_lines_end_breaks_is_one_word() -> None:
    assert read_pdf(pdf(["La línea se rom-", "pe aquí."])).text == "La línea se rompe aquí."


def test_the_title_is_the_one_of_the_metadata() -> None:
    assert read_pdf(pdf(["x"], title="Un  título (1)")).title == "Un título (1)"
    assert read_pdf(pdf(["x"])).title == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"no PDF", b"%PDF-1.4\nnothing", pdf(["x"])[:200]],
    ids=["empty", "other", "header", "cut"],
)
def test_a_broken_file_says_what_to_do(content: bytes) -> None:
    with pytest.raises(ExtractionError, match="repair or export it anew"):
        read_pdf(content)


def test_an_encrypted_file_says_what_to_do() -> None:
    with pytest.raises(ExtractionError, match="encrypted: save it without a password"):
        read_pdf(pdf(["x"], encrypted=True))


def test_a_file_of_images_alone_says_what_to_do() -> None:
    with pytest.raises(ExtractionError, match="OCR"):
        read_pdf(pdf([], []))


def test_a_file_of_too_much_text_is_refused() -> None:
    page = ["palabra " * 12] * 50
    with pytest.raises(ExtractionError, match="2,000,000 characters"):
        read_pdf(pdf(*[page] * 450))
