"""PDF files made by hand: pages of lines in a standard font, and files that are broken."""

from collections.abc import Sequence


def pdf(*pages: Sequence[str], title: str = "", encrypted: bool = False) -> bytes:
    """A PDF with these lines on its pages; Latin letters only."""
    objects = [b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"]
    tree = 2 + 2 * len(pages)
    kids = []
    for lines in pages:
        stream = b"BT /F1 12 Tf 72 720 Td 14 TL " + b"".join(map(_shown, lines)) + b"ET"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 1 0 R >> >> >>" % (tree, len(objects))
        )
        kids.append(b"%d 0 R" % len(objects))
    objects += [
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids)),
        b"<< /Type /Catalog /Pages %d 0 R >>" % tree,
        b"<< /Title %s >>" % _string(title),
    ]
    trailer = b"/Size %d /Root %d 0 R /Info %d 0 R" % (len(objects) + 1, tree + 1, tree + 2)
    if encrypted:
        # Of no password at all: no reader finds the one that fits.
        secret = b"<" + b"5a" * 32 + b">"
        objects.append(b"<< /Filter /Standard /V 1 /R 2 /O %s /U %s /P -44 >>" % (secret, secret))
        trailer += b" /Encrypt %d 0 R /ID [<00><00>]" % len(objects)
    return _file(objects, trailer)


def _shown(line: str) -> bytes:
    return _string(line) + b" Tj T* "


def _string(text: str) -> bytes:
    raw = text.encode("cp1252").replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")
    return b"(" + raw + b")"


def _file(objects: Sequence[bytes], trailer: bytes) -> bytes:
    content = b"%PDF-1.4\n"
    table = b"0000000000 65535 f \n"
    for number, body in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(content)
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    place = len(content)
    content += b"xref\n0 %d\n%s" % (len(objects) + 1, table)
    return content + b"trailer << %s >>\nstartxref\n%d\n%%%%EOF" % (trailer, place)
