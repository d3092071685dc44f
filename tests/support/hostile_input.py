"""Texts that were made to hurt whoever reads them, and how to see whether they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

MEBIBYTE = 1 << 20
RATIO = 11  # of the work for four times the text: a line has 4, a square 16


def seconds(run: Callable[[], object]) -> float:
    """Return the processor time of a call: what else the machine does is not in it."""
    started = time.process_time()
    run()
    return time.process_time() - started


def repeated(unit: str, size: int) -> str:
    """Return a text of about ``size`` characters."""
    return unit * max(size // len(unit), 1)


def assert_linear(
    run: Callable[[str], object],
    make: Callable[[int], str],
    size: int = MEBIBYTE,
    most_seconds: float = 5.0,
) -> None:
    """Fail where four times the text takes more than eleven times the work, as of a square.

    From a small text to one of ``size`` characters, four times as long each time; no further than
    to where even the square of the time would stay below a second at the end, or to a quarter that
    took as much longer as it is longer. ``most_seconds`` of processor time are for the whole.
    A machine that stalls makes a measurement worse, never better: what looks too slow is measured
    again. Below a tenth of a second there is nothing to compare.
    """
    length, before = min(size, 1 << 12), 0.0
    while True:
        took = seconds(partial(run, make(length)))
        for _ in range(2):
            if took > max(0.1, RATIO * before):
                before = seconds(partial(run, make(length // 4)))
                took = min(took, seconds(partial(run, make(length))))
        assert took <= max(0.1, RATIO * before), (
            f"{length // 4} characters took {before:.3f} s, {length} took {took:.3f} s"
        )
        allowed = most_seconds * length / size
        assert took <= max(0.5, allowed), f"{length} characters took {took:.3f} s"
        grows_as_its_length = length >= size // 4 and took <= 6 * before
        if length >= size or took * (size / length) ** 2 < 1 or grows_as_its_length:
            return
        length, before = min(size, 4 * length), took


# One text of about so many characters each, by what is hostile in it.
HOSTILE: dict[str, Callable[[int], str]] = {
    **{
        f"a run of {name}": (lambda size, unit=unit: repeated(unit, size))  # type: ignore[misc]
        for name, unit in {
            "letters": "a",
            "capitals": "Z",
            "blanks": " ",
            "newlines": "\n",
            "CR LF": "\r\n",
            "dots": ".",
            "hashes": "#",
            "dashes": "-",
            "underscores": "_",
            "quotes": '"',
            "apostrophes": "'",
            "backticks": "`",
            "backslashes": "\\",
            "colons": ":",
            "commas": ",",
            "stars": "*",
            "tildes": "~",
            "bars": "|",
            "zeros": "0",
            "nines": "9",
            "NULs": "\0",
            "halves of a pair": "\ud800",
            "combining marks": "\u0301",
            "joiners": "\u200d",
            "no-width blanks": "\u200b",
            "tatweels": "\u0640",
            "flags": "\U0001f1eb",
            "lams": "ل",
            "ideographs": "字",
            "overrides": "\u202e",
            "equal signs": "=",
            "at signs": "@",
        }.items()
    },
    **{
        f"{name}, repeated": (lambda size, unit=unit: repeated(unit, size))  # type: ignore[misc]
        for name, unit in {
            "letters apart": "a ",
            "letter and dot": "a.",
            "sentence": "A b. ",
            "mixed": "كلمة word ",
            "Arabic sentence": "جملة؟ ",
            "closed end": ".) ",
            "CR LF line": "a\r\n",
            "paragraph": "a\n\n",
            "heading": "# a\n",
            "table": "|a|b|\n|-|-|\n",
            "fence": "```\na\n",
            "list": "- a\n",
            "link": "[a](b",
            "image": "![",
            "reference": "[a]: b\n",
            "emphasis": "*a_",
            "address": "http://a:b@c/",
            "scheme": "://",
            "password": "password=",
            "escape": '\\"',
            "import": "import a\n",
            "open import": "from a import (\n",
            "call": "f(",
            "string": "'''",
            "comment": "/*",
            "brace": "{ ",
            "tag": "<b>",
            "open tag": "<a b",
            "comment tag": "<!--",
            "pre": "<pre>  ",
            "cell": "<td>",
            "entity": "&amp",
            "attribute": '<a b="',
            "pair": "a: b\n",
            "flow": "[a, ",
            "alias": "*a ",
            "anchor": "&a ",
            "key": "? a\n",
            "block": "a: |\n",
            "JSON": '{"a":1}\n',
            "JSON array": '["a",',
            "CSV": 'a,"b\n',
            "field": '"",',
            "date": "2024-01-",
            "number": "1,234.5 ",
            "exponent": "1e9",
            "signs": "+-",
            "percent": "%2e",
            "arn": "arn:aws:",
            "path": "/a",
            "quoted line": "> ",
            "deep quote": ">> a\n",
            "tab": "\ta\n",
            "unit": "1 GB-Mo ",
        }.items()
    },
    **{
        f"{name}, nested": (  # type: ignore[misc]
            lambda size, begin=begin, end=end: (
                begin * (size // (2 * len(begin))) + end * (size // (2 * len(begin)))
            )
        )
        for name, (begin, end) in {
            "lists": ("[", "]"),
            "objects": ('{"a":', "}"),
            "parentheses": ("(", ")"),
            "braces": ("{", "}"),
            "tags": ("<div>", "</div>"),
            "lists of tags": ("<ul><li>", ""),
            "angles": ("<", ">"),
            "guillemets": ("«", "»"),
        }.items()
    },
    "open YAML front matter": lambda size: "---\n" + repeated("a: b\n", size),
    "open YAML front matter, CR LF": lambda size: "---\r\n" + repeated("a\r\n", size) + "# x\r\n",
    "huge YAML front matter": lambda size: "---\n" + _numbered("k{}: v\n", size) + "---\nText.\n",
    "huge YAML list": lambda size: "---\na:\n" + repeated("- b\n", size) + "---\nText.\n",
    "long YAML scalar": lambda size: "---\na: " + repeated("b ", size) + "\n---\nText.\n",
    "long YAML number": lambda size: "---\na: " + "9" * size + "\n---\nText.\n",
    "sexagesimal": lambda size: "---\na: 1" + repeated(":59", size) + "\n---\nText.\n",
    "YAML aliases": lambda size: (
        "---\na: &a [x,x]\n" + _numbered("b{}: [*a, *a, *a]\n", size) + "---\nText.\n"
    ),
    "huge TOML front matter": lambda size: "+++\n" + _numbered("k{} = 1\n", size) + "+++\nText.\n",
    "dotted TOML": lambda size: "+++\n" + repeated("a.", size) + "b = 1\n+++\nText.\n",
    "TOML number": lambda size: "+++\na = " + "9" * size + "\n+++\nText.\n",
    "open fence": lambda size: "```python\n" + repeated("x = 1\n", size),
    "open quotation": lambda size: "« " + repeated("a b. ", size),
    "long heading": lambda size: "# a " + "#" * size + "b",
    "long JSON text": lambda size: '{"a": "' + "b" * size + '"}',
    "many JSON keys": lambda size: "{" + _numbered('"k{}": 1, ', size) + '"z": 1}',
    "JSON number": lambda size: '{"a": ' + "9" * size + "}",
    "many attributes": lambda size: "<p " + _numbered('a{}="1" ', size) + ">text</p>",
    "blanks in pre": lambda size: "<pre>a" + " " * size + "b</pre>",
}


def _numbered(form: str, size: int) -> str:
    """Return lines that differ, of about ``size`` characters together."""
    return "".join(form.format(n) for n in range(size // (len(form) + 3)))
