"""Documents out of Markdown, HTML and PDF files: a file is a document."""

from __future__ import annotations

import codecs
import logging
import re
import unicodedata
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from qafila.errors import BadInput
from qafila.text.strict_toml import load_toml
from qafila.text.strict_yaml import load_yaml

_FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)|\+\+\+[ \t]*\n(?P<toml>.*?)^\+\+\+)[ \t]*$\n?",
    re.DOTALL | re.MULTILINE,
)
_HEADING = re.compile(r"^#[ \t]+(?=[^ \t\n])([^\n]*)", re.MULTILINE)
_LONGEST_FRONT_MATTER = 1 << 15  # characters; PyYAML reads some 100 000 a second
_MOST_VALUES = 100_000  # of front matter
_NO_TEXT = ("script", "style", "noscript", "template", "svg", "iframe", "nav", "footer")
# what a page that names an encoding means by it, by Python's names (WHATWG, Encoding, section 4.2);
# one that could be read far enough to find a UTF-16 in it is none
_WEB_NAMES = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-8-sig",
    "utf-16-le": "utf-8-sig",
    "utf-16-be": "utf-8-sig",
}

# Arabic Presentation Forms A and B, and the letters that they are shapes of (Unicode, NFKC). A mark
# that stands alone there has a space before it, which would cut the word in two that it is in.
_BASE_LETTERS = {
    code: letters.removeprefix(" ")
    for code in (*range(0xFB50, 0xFE00), *range(0xFE70, 0xFF00))
    if (letters := unicodedata.normalize("NFKC", chr(code))) != chr(code)
}


class Unreadable(ValueError):
    """A file holds no text that can be taken out; the message says why, and what to do."""


@dataclass(frozen=True)
class Document:
    """Text of one file, with its title in it, and the fields that the file states of itself."""

    title: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def read_markdown(path: Path) -> Document:
    """Return the text without its front matter, whose entries are the fields.

    That is YAML between lines of ``---``, as most programs write it, or TOML between lines of
    ``+++``, as Hugo does.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 at byte {error.start + 1}: save it as UTF-8") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    fields: Any = {}
    if front := _FRONT_MATTER.match(text):
        kind = "YAML" if front["yaml"] is not None else "TOML"
        if len(front[kind.lower()]) > _LONGEST_FRONT_MATTER:
            raise Unreadable(
                f"begins with front matter of more than {_LONGEST_FRONT_MATTER} characters: keep "
                "there what describes the document, or put an empty line before a rule"
            )
        try:
            if kind == "YAML":
                fields = load_yaml(front["yaml"], "", first_line=2) or {}
            else:
                fields = load_toml(front["toml"], "")
            values = _unfolded(fields, {})
        except BadInput as error:
            told = " ".join([error.what.strip(), *error.problems])
            raise Unreadable(f"begins with front matter that {told}") from error
        except Exception as error:  # 30 February is a ValueError
            told = " ".join(str(error).split())
            raise Unreadable(f"begins with front matter that is no {kind}: {told}") from error
        if values > _MOST_VALUES:
            raise Unreadable(f"begins with front matter of more than {_MOST_VALUES} values")
        if isinstance(fields, dict):
            text = text[front.end() :]
        else:
            fields = {}  # a rule and some prose, not front matter
    heading = _HEADING.search(text)
    title = str(fields.get("title") or (heading[1].rstrip(" \t#") or "#" if heading else ""))
    return Document(title, _with_title(title, text.strip()), fields)


def _unfolded(value: Any, counted: dict[int, float]) -> float:
    """Return how many values there are once every alias is written out; what holds itself: inf."""
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in counted:
        counted[id(value)] = inf  # while it is looked into
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_unfolded(v, counted) for v in inner)
    return counted[id(value)]


def read_html(path: Path) -> Document:
    """Return the page as Markdown, without scripts, navigation and footers.

    Of a page with one ``main``, or else one ``article``, only that is taken, unless it is empty.
    Fields are the page's ``meta`` names, and ``lang``.
    """
    from bs4 import BeautifulSoup
    from bs4.element import PreformattedString
    from bs4.exceptions import ParserRejectedMarkup

    from qafila.sources.page_text import markdown_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XHTML is read as well, and a short page is no file name
        try:
            soup = BeautifulSoup(_decoded(path.read_bytes()), "html.parser")
        except ParserRejectedMarkup as error:
            told = str(error).splitlines()[-1].strip().removeprefix("AssertionError: ")
            raise Unreadable(f"is no HTML that can be parsed: {told}") from error
    fields = {
        str(m["name"]): str(m["content"])
        for m in soup.find_all("meta", attrs={"name": True})
        if m.get("content")
    }
    if soup.html is not None and (lang := soup.html.get("lang") or soup.html.get("xml:lang")):
        fields["lang"] = str(lang)
    # a drawing on the page has titles of its own
    named = next((t for t in soup.find_all("title") if not t.find_parent("svg")), None)
    title = " ".join(named.get_text().split()) if named else ""
    for tag in soup.find_all(_NO_TEXT):
        tag.decompose()
    for told in soup.find_all(string=lambda s: isinstance(s, PreformattedString)):
        told.extract()  # comments, declarations, instructions
    part: Any = soup.body or soup
    for name in ("main", "article"):
        found = soup.find_all(name)
        if len(found) == 1 and found[0].get_text(strip=True):
            part = found[0]
            break
    else:
        if named:
            named.decompose()
    try:
        text = markdown_of(part)
    except RecursionError as error:
        raise Unreadable("is nested too deeply to be read") from error
    except ValueError as error:  # a colspan of ², which is a digit and no number
        raise Unreadable(f"is no HTML that can be parsed: {error}") from error
    return Document(title, _with_title(title, text), fields)


def _decoded(raw: bytes) -> str:
    from bs4.dammit import EncodingDetector

    declared = None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        declared = "utf-16"
    elif not raw.startswith(b"\xef\xbb\xbf"):
        declared = EncodingDetector.find_declared_encoding(raw, is_html=True)
    try:
        name = codecs.lookup(declared).name if declared else "utf-8-sig"
        if not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            name = _WEB_NAMES.get(name, name)
        return raw.decode(name)
    except UnicodeDecodeError as error:
        said = f"says that it is {declared}, and" if declared else "says no encoding and"
        raise Unreadable(
            f"{said} is not {declared or 'UTF-8'} at byte {error.start + 1}: save it as UTF-8"
        ) from error
    except (LookupError, ValueError) as error:
        raise Unreadable(f"says that it is {declared}, which is no known encoding") from error


def read_pdf(path: Path) -> Document:
    """Return the text of all pages, an empty line between; fields are the PDF's information.

    Arabic letters that the PDF holds in the shapes they are drawn in (U+FB50 to U+FDFF, U+FE70 to
    U+FEFF) become the letters people write, which search and embedders know; all else stays.
    """
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it comments on every odd file
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("is encrypted: save it without a password")
        pages = [page.extract_text() for page in reader.pages]
        information = {k.lstrip("/"): str(v) for k, v in (reader.metadata or {}).items()}
    except Unreadable:
        raise
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise Unreadable(f"is no readable PDF: {type(error).__name__}: {error}") from error
    # extraction leaves what no text may hold, where a font says no more than glyph numbers
    text = "\n\n".join(p.strip() for p in pages).replace("\0", "").strip()
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = text.translate(_BASE_LETTERS)
    if not text:
        raise Unreadable("holds no text, as a scan does: run OCR on it first")
    if not any(map(str.isalnum, text)):
        raise Unreadable(
            "holds no letters, as where its fonts do not name them: run OCR on it first"
        )
    return Document("", text, information)


READERS = {"markdown": read_markdown, "html": read_html, "pdf": read_pdf}


def _with_title(title: str, text: str) -> str:
    first = text.partition("\n")[0]
    return text if not title or title in first else f"{title}\n\n{text}".strip()
