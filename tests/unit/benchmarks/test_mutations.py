"""The mutations themselves: each changes one thing, can be read, and is the same each time."""

from __future__ import annotations

import ast
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.mutation_areas import AREAS
from benchmarks.mutations import ROOT, chosen
from benchmarks.python_mutations import python_mutations
from benchmarks.sql_mutations import sql_mutations

MODULE = '''
def taken(age: int = 3) -> bool:
    """A docstring with 1 number."""
    assert age != 7
    tell(age)
    if not age and age < 10 or ready(age):
        raise ValueError("late")
    return round(age + 1, 4) is not None
'''
SQL = """-- name: one
-- Only a comment: WHERE nothing < 1.
UPDATE t
SET a = a + 1,
    b = NULL
WHERE c <= 3
  AND (d IS NULL
       OR e = 1)
FOR UPDATE SKIP LOCKED;

-- name: two
SELECT 1 WHERE f < 2;
"""


def test_of_python_each_decision_is_changed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)
    found = list(python_mutations(tmp_path, "m.py"))
    assert [m.what for m in found if "→" in m.what and len(m.what) < 30] == [
        "3 → 4",
        "3 → 2",
        "tell(age) → pass",
        "not age → age",
        "age < 10 → age <= 10",
        "age < 10 → age >= 10",
        "10 → 11",
        "10 → 9",
        "age + 1 → age - 1",
        "1 → 2",
        "1 → 0",
    ]
    assert len({m.text for m in found}) == len(found) == 16
    for one in found:
        ast.parse(one.text)
        assert "assert age != 7" in one.text
        assert "1 number" in one.text


def test_of_sql_each_condition_is_changed_in_the_statement_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "s.sql").write_text(SQL)
    found = list(sql_mutations(tmp_path, "s.sql", ["one"]))
    texts = [m.text for m in found]
    assert len(set(texts)) == len(texts)
    assert all(t.endswith("-- name: two\nSELECT 1 WHERE f < 2;\n") for t in texts)
    assert all("-- Only a comment: WHERE nothing < 1.\n" in t for t in texts)
    for changed in (
        "WHERE true\n",
        "OR false)\n",
        "b = b\n",
        "a + 0",
        "c < 3",
        "d IS NOT NULL",
        "OR e = 1);",
        "FOR UPDATE;",
    ):
        assert any(changed in t for t in texts), changed


@pytest.mark.parametrize("name", AREAS)
def test_an_area_names_what_exists(name: str) -> None:
    area = AREAS[name]
    for path in (*area.modules, *area.tests, *(path for path, _ in area.sql)):
        assert (ROOT / path).is_file(), path
    asked = Namespace(python=3, sql=3, seed=15, only=None)
    taken, in_all = chosen(area, asked)
    assert in_all >= len(taken) == (3 if not area.sql else 6)


def test_a_sample_is_the_same_each_time() -> None:
    asked = Namespace(python=3, sql=3, seed=15, only=None)
    assert chosen(AREAS["leases"], asked) == chosen(AREAS["leases"], asked)
