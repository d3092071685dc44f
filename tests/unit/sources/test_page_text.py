"""A page as Markdown: what markdownify makes of it, in time that grows with the page alone."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdownify import MarkdownConverter

from qafila.sources.page_text import markdown_of

MEBIBYTE = 1 << 20
CEILING_SECONDS = 10.0  # of processor time; each takes a tenth of it, and took hours
PIECES = [
    "<pre>",
    "</pre>",
    "<p>",
    "</p>",
    "<b>",
    "</b>",
    "<code>",
    "</code>",
    "<td>",
    "<table><tr>",
    "</table>",
    "<ul><li>",
    "</ul>",
    "<h2>",
    "</h2>",
    "<br>",
    "<div>",
    "</div>",
    "<blockquote>",
    "a",
    "word word",
    "é",
    "*",
    "_",
    "`",
    "\n",
    " ",
    "\t",
    "\r",
    "\u00a0",
    " " * 70,
    "\n" * 70,
    " \n\t" * 30,
    "\t" * 64,
    " " * 63,
]


def former(page: str) -> str:
    converter: Any = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=["a", "img"],
        escape_asterisks=False,
        escape_underscores=False,
    )
    text = converter.convert_soup(BeautifulSoup(page, "html.parser"))
    text = re.sub(r"[ \t]+$", "", str(text), flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
@example("<pre>   </pre>")
@example("<pre> \n  x\n\n </pre>")
@example("<p>a" + " " * 100 + "\n" + " " * 100 + "b</p>")
def test_a_page_becomes_what_it_became(page: str) -> None:
    assert markdown_of(BeautifulSoup(page, "html.parser")) == former(page)


@pytest.mark.parametrize("unit", [" ", "\n", " \n", "\t "])
@pytest.mark.parametrize("tag", ["pre", "p", "code", "td"])
def test_a_mebibyte_of_blanks_takes_no_longer_than_it_is(tag: str, unit: str) -> None:
    page = f"<{tag}>a{unit * (MEBIBYTE // len(unit))}b</{tag}>"
    begun = time.process_time()
    text = markdown_of(BeautifulSoup(page, "html.parser"))
    assert time.process_time() - begun < CEILING_SECONDS
    assert "a" in text
    assert "b" in text
