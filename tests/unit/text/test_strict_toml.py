"""TOML is parsed in one place, in time that grows with the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from qafila.errors import BadInput
from qafila.text.strict_toml import MOST_DOTS, load_toml

ROOT = Path(__file__).parents[3]


def test_an_ordinary_text_is_read() -> None:
    assert load_toml('a.b = 1\n[[row]]\nc = "x"\n', "a") == {"a": {"b": 1}, "row": [{"c": "x"}]}
    assert load_toml("a" + ".a" * MOST_DOTS + " = 1", "a")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = ", "the table cannot be read as TOML: Invalid value"),
        ("day = 2024-02-30", "the table cannot be read as TOML: "),
        ("a = " + "[" * 100_000, "the table cannot be read as TOML: "),
        ("b = 1\n" + "a." * 300 + "b = 1", "the table has more than 200 dots in line 2: break"),
        ("[" + "a." * 300 + "b]", "the table has more than 200 dots in line 1: break"),
    ],
)
def test_what_is_none_is_refused_with_its_name(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        load_toml(text, "the table")


def test_nothing_else_parses_toml() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for room in ("qafila", "tasks", "flows", "blocks")
        for path in (ROOT / room).rglob("*.py")
        if "import tomllib" in path.read_text() or "from tomllib" in path.read_text()
    ]
    assert readers == ["qafila/text/strict_toml.py"]
