"""The text of an HTML page as Markdown, in time that grows with the page alone.

markdownify looks at a run of blanks again from each blank of it: 40 kB of them took 7 s. So long
runs become what it would make of them before it sees them, and it does not trim code itself.
"""

from __future__ import annotations

import re
from typing import Any

from bs4.element import NavigableString, Tag
from markdownify import MarkdownConverter

_LONG_RUN = re.compile(r"[\t \r\n]{64,}+")  # a shorter one costs too little to be worth a look
_BEFORE_CODE = re.compile(r"[ \n]*+")
_MANY_LINE_ENDS = re.compile(r"\n{3,}")


def markdown_of(part: Tag) -> str:
    """Return a page, or a part of one, as Markdown; its long runs of blanks are shortened.

    Raises:
        RecursionError: it is nested too deeply.
        ValueError: an attribute holds no number where one must be.
    """
    for text in part.find_all(string=_LONG_RUN):
        if text.find_parent("pre") is None:
            text.replace_with(NavigableString(_LONG_RUN.sub(_one_blank, text)))
    converter: Any = _Converter(
        heading_style="ATX",
        bullets="-",
        strip=["a", "img"],
        escape_asterisks=False,
        escape_underscores=False,
    )
    lines = str(converter.convert_soup(part)).split("\n")
    return _MANY_LINE_ENDS.sub("\n\n", "\n".join(line.rstrip(" \t") for line in lines)).strip()


class _Converter(MarkdownConverter):
    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Return code in a fence, without lines of blanks before it and blanks behind it."""
        if not text:
            return ""
        blanks = _BEFORE_CODE.match(text)
        begin = text.rfind("\n", 0, blanks.end() if blanks else 0) + 1
        code = text[begin:].rstrip(" \n")
        return f"\n\n```\n{code}\n```\n\n"


def _one_blank(run: re.Match[str]) -> str:
    """Return what a run of blanks outside of code becomes: a line end where it holds one."""
    return "\n" if "\n" in run[0] or "\r" in run[0] else " "
