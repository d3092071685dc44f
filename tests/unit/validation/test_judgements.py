"""Rows of judgements become queries, or one error naming all that is wrong; known items."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.validation.judged import JudgedQuery
from qafila.validation.judgement_rows import collect_queries
from qafila.validation.known_item_rules import known_item, sample_of


def test_rows_become_queries() -> None:
    found, problems = collect_queries(
        [
            (1, "which?", "a", 2, "names", "fr"),
            (1, "which?", "b", "0.5", "names", "fr"),
            (2, "what?", None, None, None, None),
        ]
    )
    assert problems == []
    assert found == [
        JudgedQuery("1", "which?", {"a": 2.0, "b": 0.5}, "names", "fr"),
        JudgedQuery("2", "what?", {}),
    ]
    assert [q.judged for q in found] == [True, False]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((None, "which?", "a", 1, None, None), "has no query_id"),
        (("q", "", "a", 1, None, None), "has no text"),
        (("q", "other?", "b", 1, None, None), "is there twice"),
        (("q", "which?", "b", 1, "names", None), "is there twice"),
        (("q", "which?", "a", 1, None, None), "judges document 'a' twice"),
        (("q", "which?", "b", -1, None, None), "'-1' is no grade"),
        (("q", "which?", "b", "good", None, None), "'good' is no grade"),
        (("q", "which?", "b", float("nan"), None, None), "'nan' is no grade"),
        (("q", "which?", "b", None, None, None), "an empty grade is no grade"),
        (("q", "which?", None, 1, None, None), "a grade for no document"),
    ],
)
def test_every_problem_is_named(row: tuple[object, ...], problem: str) -> None:
    fine = ("q", "which?", "a", 1, None, None)
    _, problems = collect_queries([fine, row, (*row[:3], "worse", None, None)])
    assert any(problem in p for p in problems)
    assert len(problems) >= 1


def test_a_title_asks_for_its_document_else_some_of_its_words() -> None:
    generator = random.Random(7)
    assert known_item("Put Object", "Put Object\nAdds an object", generator) == "Put Object"
    text = "Adds An object to a bucket and gives back its version"
    asked = known_item("Put", text, generator)
    assert asked is not None
    assert asked in text.lower()
    assert 6 <= len(asked.split()) <= 10
    assert known_item("Put", "too few words", generator) is None


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 9))
def test_a_sample_always_holds_each_item_once_at_most(items: int, size: int, seed: int) -> None:
    found = sample_of(range(items), size, random.Random(seed))
    assert len(found) == min(items, size)
    assert len(set(found)) == len(found)
    assert found == sample_of(range(items), size, random.Random(seed))
