"""PDF files: the text of their pages."""

import pypdfium2
from pypdfium2 import PdfDocument, PdfiumError

from query.extraction.model import MAX_CHARACTERS, Extracted, ExtractionError, checked

_MAX_TITLE_CHARACTERS = 1000
_PAGE_BREAK = "\n\n"

# PDFium joins a word that a line's end breaks, with a mark in place of the hyphen.
_HYPHENS = (0x0002, 0x00AD, 0xFFFE)
_NO_TEXT = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0), *_HYPHENS, 0xFFFF} - {*b"\t\n"})


def read_pdf(content: bytes) -> Extracted:
    """The text of a PDF page by page, and the title in its metadata. ExtractionError."""
    with _opened(content) as document:
        title = " ".join(document.get_metadata_value("Title").translate(_NO_TEXT).split())
        pages: list[int] = []
        parts: list[str] = []
        length = 0
        for number in range(len(document)):
            pages.append(length)
            page = _text(document, number)
            if page:
                parts.append(page + _PAGE_BREAK)
                length += len(parts[-1])
            if length > MAX_CHARACTERS:
                break
    text = "".join(parts).rstrip()
    if not text:
        raise ExtractionError(
            "the PDF has no text, only images perhaps: recognise its text (OCR) and send the result"
        )
    return checked(Extracted(text, title[:_MAX_TITLE_CHARACTERS], pages=tuple(pages)))


def _opened(content: bytes) -> PdfDocument:
    try:
        return PdfDocument(content)
    except PdfiumError as error:
        if error.err_code in {pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY}:
            raise ExtractionError("the PDF is encrypted: save it without a password") from None
        raise ExtractionError("it is no PDF, or a damaged one: repair or export it anew") from None


def _text(document: PdfDocument, number: int) -> str:
    try:
        page = document[number]
        text = page.get_textpage().get_text_bounded()
        page.close()
    except PdfiumError:
        raise ExtractionError(
            f"page {number + 1} of the PDF is damaged: repair or export it anew"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").translate(_NO_TEXT).split("\n")
    return "\n".join(line.strip() for line in lines).strip()
