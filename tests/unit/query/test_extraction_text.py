import pytest

from query.extraction import model
from query.extraction.charset import decode_page
from query.extraction.model import ExtractionError, checked
from query.extraction.text import read_markdown, read_plain

WORD = "ñandú — 東京"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"], ids=lambda name: name
)
def test_a_text_is_read_by_its_byte_order_mark_or_as_utf_8(encoding: str) -> None:
    assert read_plain(WORD.encode(encoding)).text == WORD


@pytest.mark.parametrize(
    ("mark", "encoding"), [(b"\xfe\xff", "utf-16-be"), (b"\0\0\xfe\xff", "utf-32-be")]
)
def test_big_endian_marks_are_known_too(mark: bytes, encoding: str) -> None:
    assert read_plain(mark + WORD.encode(encoding)).text == WORD


def test_a_text_in_another_encoding_says_what_to_do() -> None:
    with pytest.raises(ExtractionError, match="not UTF-8: save it as UTF-8"):
        read_plain("año".encode("latin-1"))


def test_a_broken_mark_is_no_utf_16() -> None:
    with pytest.raises(ExtractionError, match="byte order mark"):
        read_plain(b"\xff\xfea")


@pytest.mark.parametrize("content", [b"a\0b", WORD.encode("utf-16-le"), b"\x7fELF\0\0"])
def test_a_binary_file_is_no_text(content: bytes) -> None:
    with pytest.raises(ExtractionError):
        read_plain(content)


@pytest.mark.parametrize("content", [b"", b" \n\t", b"\xef\xbb\xbf\n"])
def test_a_text_without_anything_is_left_out(content: bytes) -> None:
    with pytest.raises(ExtractionError, match="no text"):
        read_plain(content)


def test_plain_text_has_no_headings_and_markdown_has() -> None:
    assert not read_plain(b"# A").markdown
    assert read_markdown(b"# A").markdown


@pytest.mark.parametrize("value", ["Guía", '"Guía"', "'Guía'", "  Guía  "])
def test_markdown_takes_its_title_from_the_front_matter(value: str) -> None:
    text = f"---\nlang: es\ntitle: {value}\n---\n# Otro\n"
    extracted = read_markdown(text.encode())
    assert (extracted.title, extracted.text) == ("Guía", text)


def test_a_title_has_at_most_a_thousand_characters() -> None:
    text = f"---\ntitle: {'x' * 5000}\n---\n"
    assert read_markdown(text.encode()).title == "x" * 1000


def test_a_title_behind_the_front_matter_is_text() -> None:
    assert read_markdown(b"---\na: b\n---\ntitle: no\n").title == ""


def test_a_text_of_two_million_characters_is_the_longest() -> None:
    longest = model.MAX_CHARACTERS
    assert longest == 2_000_000
    assert len(read_plain(b"x" * longest).text) == longest
    with pytest.raises(ExtractionError, match="2,000,000 characters: split it"):
        read_plain(b"x" * (longest + 1))


def test_what_is_within_the_limit_is_left_as_it_is() -> None:
    extracted = model.Extracted("x", "t", pages=(0,))
    assert checked(extracted) is extracted


# Pages


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("<meta charset=iso-8859-1>", "cp1252"),
        ("<meta charset='windows-1252'>", "cp1252"),
        ('<META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset=ISO-8859-15">', "iso8859-15"),
        ('<?xml version="1.0" encoding="windows-1251"?>', "cp1251"),
        ("<meta name=x content=y><meta charset=shift_jis>", "shift_jis"),
        ("<meta charset=utf-16>", "utf-8"),
        ("", "utf-8"),
        ("<meta charset=unicode_escape>", "utf-8"),
        ("<meta charset=rot13>", "utf-8"),
        ("<meta charset=none-such>", "utf-8"),
    ],
)
def test_a_page_is_read_as_it_declares(head: str, encoding: str) -> None:
    word = {"cp1251": "Москва", "shift_jis": "東京"}.get(encoding, "año €")
    assert decode_page((head + word).encode(encoding)) == head + word


def test_a_byte_order_mark_outweighs_what_a_page_declares() -> None:
    assert decode_page("<meta charset=koi8-r>ñ".encode("utf-8-sig")) == "<meta charset=koi8-r>ñ"


def test_a_page_in_an_unknown_encoding_says_what_to_do() -> None:
    with pytest.raises(ExtractionError, match="<meta charset>"):
        decode_page("año".encode("latin-1"))


def test_a_byte_that_does_not_fit_what_a_page_declares_spoils_only_itself() -> None:
    assert decode_page(b"<meta charset=utf-8>a\xffb") == "<meta charset=utf-8>a\ufffdb"
