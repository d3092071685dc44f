"""Headings are where another reader of CommonMark sees them, whatever the text is made of."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qafila.chunking.sections import sections

PEER = MarkdownIt("commonmark")
PIECES = st.sampled_from(
    [
        "# ",
        "## ",
        "###### ",
        "####### ",
        "#",
        "#\t",
        " #",
        "===",
        "---",
        "- ",
        "* ",
        "1. ",
        "> ",
        "  ",
        "    ",
        "\t",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "```",
        "~~~",
        "<div>",
        "</div>",
        "<!--",
        "-->",
        "<p",
        "a",
        "b c",
        "*x*",
        "`",
        "\\",
        "[a]: b",
        "+++",
        "|",
        "&amp;",
        "é",
        "\u200b",
        "ا",
        "😀",
        "\0",
        "\ud800",
        "\u2028",
    ]
)


def of_peer(text: str) -> list[tuple[int, int, str]]:
    """Return first line, level and title of every heading that is in no list and no quote."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    tokens = PEER.parse(lines)
    return [
        (token.map[0], int(token.tag[1:]), " ".join(inline.content.split()))
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map is not None
    ]


def ours(text: str) -> list[tuple[int, int, str]]:
    before = (text[: s.start].replace("\r\n", "\n").replace("\r", "\n") for s in sections(text))
    return [
        (lines.count("\n"), s.level, s.path[-1])
        for lines, s in zip(before, sections(text), strict=True)
        if s.level
    ]


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join).filter(lambda text: not text.startswith("---")))
def test_another_reader_finds_the_same_headings(text: str) -> None:
    assert ours(text) == of_peer(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_sections_never_leave_a_letter_out(text: str) -> None:
    found = sections(text)
    assert "".join(text[s.start : s.end] for s in found) == text
    assert all(s.start <= s.body <= s.end for s in found)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("# a # b #\n", ("a # b",)),
        ("  ## é *x*\rtext", ("é *x*",)),
        ("a\nb\n===\n", ("a b",)),
        ("#\v not one\n# one\n", ("one",)),  # a vertical tab is no space to CommonMark
        ("> # quoted\n\n- # in a list\n\n# ا\n", ("ا",)),
        ("---\ntitle: # no\n---\n# yes\n", ("yes",)),
    ],
)
def test_a_title_is_as_it_is_written(text: str, path: tuple[str, ...]) -> None:
    assert sections(text)[-1].path == path
