"""YAML that would be read wrongly, slowly or without end is refused with its lines."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qafila.errors import BadInput
from qafila.sources.documents import Unreadable, read_markdown
from qafila.stack.prefect import declared
from qafila.text.strict_yaml import DEEPEST, load_yaml
from qafila.workload_file import read_file

ROOT = Path(__file__).parents[3]
FILE = ROOT / "workloads" / "aws-docs-search.yaml"


def problems(text: str, **options: Any) -> tuple[str, ...]:
    with pytest.raises(BadInput) as caught:
        load_yaml(text, "x.yaml", **options)
    return caught.value.problems


def test_a_key_that_occurs_twice_is_refused_with_both_lines() -> None:
    assert problems("a: 1\nb: 2\na: 3\n") == ("line 3: a is there already, in line 1.",)


def test_every_repeated_key_is_named_with_its_path() -> None:
    text = "a:\n  b: 1\n  c:\n    - d: 1\n      e: 2\n      d: 3\n  b: 4\nf: {g: 1, g: 2}\n"
    assert problems(text) == (
        "line 6: a.c[0].d is there already, in line 4.",
        "line 7: a.b is there already, in line 2.",
        "line 8: f.g is there already, in line 8.",
    )


@pytest.mark.parametrize(
    "text",
    [
        "1: a\n0x1: b\n",
        "yes: a\ntrue: b\n",
        "a: 1\n'a': 2\n",
        "~: 1\nnull: 2\n",
        "x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n",
    ],
)
def test_keys_that_are_equal_once_read_are_the_same_key(text: str) -> None:
    assert len(problems(text)) == 1


def test_a_merged_key_may_be_overridden_and_an_alias_used_twice() -> None:
    text = "base: &b {a: 1, c: 2}\none: {<<: *b, a: 3}\ntwo: [*b, *b]\n"
    assert load_yaml(text, "x") == {
        "base": {"a": 1, "c": 2},
        "one": {"a": 3, "c": 2},
        "two": [{"a": 1, "c": 2}] * 2,
    }


def test_a_repeated_key_in_an_anchor_is_told_once() -> None:
    assert len(problems("x: &x {a: 1, a: 2}\ny: *x\nz: {<<: *x}\n")) == 1


def test_lines_count_from_where_the_text_begins() -> None:
    assert problems("a: 1\na: 2\n", first_line=10) == ("line 11: a is there already, in line 10.",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "line 1 is nested more than 50 levels deep"),
        ("{a: " * 100_000, "nested more than 50 levels deep"),
        ("- " * 100_000 + "a", "nested more than 50 levels deep"),
        ("".join(" " * n + "a:\n" for n in range(1_000)), "is nested more than 50 levels deep"),
        (
            "a0: &a0 [x]\n"
            + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
            "aliases unfold to more than 100000 values",
        ),
        (
            "a0: &a0 {k: v}\n"
            + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)),
            "aliases unfold to more than 100000 values",
        ),
        ("&a [*a]", "aliases unfold"),
        ("&a {k: *a}", "aliases unfold"),
        ("1" + ":5" * 500_000, "line 1 has a number of more than 400 characters"),
        ("9" * 10_000, "a number of more than 400 characters"),
        ("a: 2026-02-30", "cannot be read as YAML"),
        ("a: !!bool maybe", "cannot be read as YAML"),
        ("? [a]\n: b", "cannot be read as YAML"),
        ("? {a: 1}\n: b", "cannot be read as YAML"),
        ("a: *nowhere", "undefined alias"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: !!python/object/apply:os.system [id]", "cannot be read as YAML"),
        ("a: \x07", "cannot be read as YAML"),
    ],
)
def test_what_cannot_be_read_honestly_is_refused_at_once(text: str, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(BadInput, match=re.escape(words)):
        load_yaml(text, "x.yaml")
    assert time.monotonic() - began < 5


def test_what_is_nested_less_is_read() -> None:
    levels = DEEPEST - 1
    value = load_yaml("[" * levels + "]" * levels, "x")
    for _ in range(levels - 1):
        (value,) = value
    assert value == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc: -\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcd", min_size=1), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_what_has_no_repeated_key_is_read_as_before(value: Any) -> None:
    text = yaml.safe_dump(value)
    assert load_yaml(text, "x") == yaml.safe_load(text) == value


@given(st.text("ab:[]{}&*<>-, \n'\"?!#|~", max_size=60))
def test_any_text_is_a_value_or_bad_input(text: str) -> None:
    try:
        value = load_yaml(text, "x")
    except BadInput:
        return
    assert value == yaml.safe_load(text)


def test_a_workload_file_with_a_repeated_key_is_refused_beside_its_other_mistakes(
    tmp_path: Path,
) -> None:
    text = FILE.read_text().replace("criticality: low ", "criticality: lo ")
    file = tmp_path / "w.yaml"
    file.write_text(text + "criticality: low\nowner: other@example.org\n")
    with pytest.raises(BadInput) as caught:
        read_file(file)
    found = caught.value.problems
    owner = next(n for n, row in enumerate(text.splitlines(), 1) if row.startswith("owner:"))
    last = len(text.splitlines()) + 2
    assert f"line {last}: owner is there already, in line {owner}." in found
    assert any("criticality is there already" in p for p in found)


def test_a_workload_file_nested_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("a: " + "[" * 50_000)
    with pytest.raises(BadInput, match="nested more than 50 levels deep"):
        read_file(file)


def test_front_matter_with_a_repeated_key_is_refused_with_its_lines(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("---\ntitle: a\ntenant: one\ntenant: two\n---\ntext\n")
    with pytest.raises(Unreadable, match=r"line 4: tenant is there already, in line 3"):
        read_markdown(page)


def test_deployments_with_a_repeated_key_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text("deployments:\n  - name: a\n    name: b\n")
    with pytest.raises(BadInput, match=r"line 3: deployments\[0\]\.name is there already"):
        declared(file)


def test_only_one_place_parses_yaml() -> None:
    parses = re.compile(r"yaml\.(safe_|full_|unsafe_)?(load|compose|parse|scan)\w*\(")
    found = {
        str(path.relative_to(ROOT))
        for room in ("qafila", "tasks", "flows", "blocks", "benchmarks", "docs")
        for path in (ROOT / room).rglob("*.py")
        if parses.search(path.read_text())
    }
    assert found == set()
