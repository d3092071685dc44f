"""The smallest PDF that holds a text, for tests."""

from __future__ import annotations


def pdf_of(text: str, *, title: str = "") -> bytes:
    """Return one page with ``text``, which must be Latin-1; without text, a page without any."""
    shown = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    drawn = f"BT /F1 12 Tf 72 720 Td ({shown}) Tj ET" if text else "0 0 m 9 9 l S"
    return _pdf(drawn, b"/Encoding /WinAnsiEncoding", title, b"<< >>")


def pdf_of_glyphs(text: str) -> bytes:
    """Return one page with ``text``, drawn by numbers of glyphs that a table says the letters of.

    At most 255 different ones, as in the font of a PDF that holds Arabic.
    """
    code = {letter: n for n, letter in enumerate(dict.fromkeys(text), 1)}
    drawn = f"BT /F1 12 Tf 72 720 Td <{bytes(code[c] for c in text).hex()}> Tj ET"
    pairs = "\n".join(f"<{n:02x}> <{c.encode('utf-16-be').hex()}>" for c, n in code.items())
    table = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "1 begincodespacerange <00> <ff> endcodespacerange\n"
        f"{len(code)} beginbfchar\n{pairs}\nendbfchar endcmap end end"
    ).encode()
    stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(table), table)
    return _pdf(drawn, b"/ToUnicode 7 0 R", "", stream)


def _pdf(drawn: str, letters: bytes, title: str, last: bytes) -> bytes:
    stream = drawn.encode("latin-1")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica %s >>" % letters,
        b"<< /Title (%s) >>" % title.encode("latin-1"),
        last,
    ]
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % o for o in offsets)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 6 0 R >>\n" % (len(objects) + 1)
    return bytes(out) + b"startxref\n%d\n%%%%EOF\n" % out.index(b"xref\n0")
