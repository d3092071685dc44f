"""What splits and scans text takes time in proportion to it, and finds what it always found."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qafila.audit.code_scan import light
from qafila.chunking import boundaries, sections
from qafila.chunking.chunks import split
from qafila.sources import documents
from qafila.workload.corpus import Chunking

MEBIBYTE = 1 << 20
WINDOWS = Chunking(method="window", max_characters=500, overlap_characters=50)
CEILING_SECONDS = 10.0  # of processor time: each takes a tenth of it, and took hours

# The patterns as they were while their time grew with the square of a text.
FORMER_END = regex.compile(
    r"""
    (?P<mark>[.!?…‼⁇⁈⁉؟۔।॥]+)
    (?:[”’"')\]}›]|[\s]?»)*
    \s+
  | (?P<wide>[。！？｡]+)[」』）】”’]*\s*
  | (?P<blank>(?:\r\n?|\n)[^\S\r\n]*(?:(?:\r\n?|\n)[^\S\r\n]*)+)
    """,
    regex.VERBOSE,
)
FORMER_FRONT_MATTER = re.compile(
    r"---[ \t]*(?:\r\n?|\n)(?:[^\r\n]*(?:\r\n?|\n)){0,200}?(?:---|\.\.\.)[ \t]*(?:\r\n?|\n|\Z)"
)
FORMER_PYTHON = re.compile(
    rb"\b(?:from[ \t]+([\w.]+)(?:[ \t]|\\\r?\n)+import[ \t]*"
    rb"(\([^)]*\)|[^\n;#\\]*(?:\\\r?\n[^\n;#\\]*)*)"
    rb"|import[ \t]+([\w.][^\n;#\\]*(?:\\\r?\n[^\n;#\\]*)*))"
)
FORMER_JAVASCRIPT = re.compile(rb"(?:\bfrom|\brequire|\bimport)\s*\(?\s*[\"'`]([^\"'`\n]+)")

PIECES = [
    "a",
    "B",
    "é",
    "e\u0301",
    "\u0301",
    "م",
    "؟",
    "۔",
    ". ",
    ".",
    "...",
    "!?",
    "! ",
    " »",
    "«",
    ")",
    "”",
    "'",
    " ",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "\t",
    "\u00a0",
    "\u200d",
    "🇫🇷",
    "。",
    "」",
    "mot ",
    "word. ",
    "M. ",
    "# ",
    "\n## Titre\n",
    "```\n",
    "\n---\n",
    "---\n",
    "\r\n---\r\n",
    "\n...\n",
    "1. ",
    "\0",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
CODE = st.lists(
    st.sampled_from(
        [
            "from ",
            "import ",
            "import",
            "require",
            "a",
            "b.c",
            ",",
            "(",
            ")",
            "\n",
            "\\\n",
            " ",
            "\t",
            "#",
            ";",
            "'",
            '"',
            "`",
            "google.cloud",
            "\r\n",
            "é",
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.sampled_from(["sentences", "headings"]), st.integers(0, 40))
@example("Wait... what? ».) »  Yes.", "sentences", 0)
@example("---\r\na: b\r\n---\r\n# A\r\n\r\nb\r\n", "headings", 0)
def test_chunks_are_where_they_were(text: str, method: str, overlap: int) -> None:
    chunking = Chunking.model_validate(
        {"method": method, "max_characters": 100, "overlap_characters": overlap}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundaries, "_SENTENCE_END", FORMER_END)
        former_sentences = list(boundaries.sentences(text))
        if text.count("\r\n") < 12:  # a text of more may take the former pattern for ever
            patch.setattr(sections, "_FRONT_MATTER", FORMER_FRONT_MATTER)
        former = split(text, chunking)
    assert list(boundaries.sentences(text)) == former_sentences
    assert split(text, chunking) == former


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.integers(0, 60), st.integers(0, 60))
def test_sentences_of_a_part_are_where_they_were(text: str, start: int, length: int) -> None:
    start = min(start, len(text))
    end = min(start + length, len(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundaries, "_SENTENCE_END", FORMER_END)
        former = list(boundaries.sentences(text, start, end))
    assert list(boundaries.sentences(text, start, end)) == former


@settings(max_examples=500, deadline=None)
@given(CODE)
@example("from google.cloud import (  # the (new) one\n  storage,\n)\n")
def test_no_import_that_was_found_is_lost(text: str) -> None:
    content = text.encode()
    found = {language: light.imports_of(language, content) for language in ("python", "javascript")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(light, "_PYTHON", FORMER_PYTHON)
        patch.setattr(light, "_JAVASCRIPT", FORMER_JAVASCRIPT)
        assert light.imports_of("python", content) <= found["python"]
        assert light.imports_of("javascript", content) == found["javascript"]


def test_an_import_after_a_comment_with_parentheses_is_found() -> None:
    content = b"from google.cloud import (  # the (new) one\n  storage,\n)\n"
    assert "google.cloud.storage" in light.imports_of("python", content)


def _markdown(text: str, tmp_path_factory: pytest.TempPathFactory) -> documents.Document:
    path = tmp_path_factory.mktemp("linear") / "a.md"
    path.write_text(text, newline="")
    return documents.read_markdown(path)


@pytest.mark.parametrize(
    ("before", "unit", "after", "run"),
    [
        ("", ".", "a", lambda t: list(boundaries.sentences(t))),
        ("", ".)", "a", lambda t: list(boundaries.sentences(t))),
        ("---\r\n", "a\r\n", "# x\r\n", sections.sections),
        ("import", "\n", "x", lambda t: light.imports_of("javascript", t.encode())),
        ("", "\u200b", "", lambda t: split(t, WINDOWS)),
        ("", "\u0640", "", lambda t: split(t, WINDOWS)),
        ("", "from a import (\n", "", lambda t: light.imports_of("python", t.encode())),
    ],
    ids=[
        "dots",
        "dots that close",
        "open front matter",
        "lines after import",
        "no width",
        "tatweel",
        "open imports",
    ],
)
def test_a_mebibyte_takes_no_longer_than_it_is(
    before: str, unit: str, after: str, run: Callable[[str], object]
) -> None:
    text = before + unit * (MEBIBYTE // len(unit)) + after
    begun = time.process_time()
    run(text)
    assert time.process_time() - begun < CEILING_SECONDS


@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [("# a ", "#", "b"), ("# a", " ", "b"), ("# ", "# ", "b"), ("---\r\n", "a\r\n", "")],
    ids=["hashes", "blanks", "hashes apart", "open front matter"],
)
def test_a_heading_of_a_mebibyte_is_read(
    before: str, unit: str, after: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = before + unit * (MEBIBYTE // len(unit)) + after
    begun = time.process_time()
    _markdown(text, tmp_path_factory)
    assert time.process_time() - begun < CEILING_SECONDS


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# A title ##\n\nb", "A title"),
        ("text\n#\tA # b\n", "A # b"),
        ("# #\nb", "#"),
        ("#no\n# yes", "yes"),
        ("#  \n# Named\n", "Named"),
        ("#\n\nb", ""),
    ],
)
def test_a_title_is_the_first_heading_with_a_text(
    text: str, title: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert _markdown(text, tmp_path_factory).title == title
