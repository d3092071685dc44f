"""Which rows of evidence a question gets: those that it is about, each, in order."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.ledger.evidence import evidence_of, genuine_rows, latest_evidence, record_evidence
from qafila.sql import statement

Ledger = psycopg.Connection[Any]
ROWS = [
    ("shop", 1, "drill"),
    ("shop", 2, "drill"),
    ("shop", 1, "approval"),
    ("docs", 1, "drill"),
    ("shop", 1, "drill"),
    ("docs", 1, "approval"),
    ("shop", None, "approval"),
]


@pytest.fixture
def numbers(ledger: Ledger) -> list[int]:
    return [
        record_evidence(
            ledger, kind, f"row {n}", workload=workload, generation=generation, body={"id": f"q{n}"}
        )
        for n, (workload, generation, kind) in enumerate(ROWS)
    ]


@pytest.mark.parametrize(
    ("workload", "kind", "generation", "rows"),
    [
        ("shop", None, None, [6, 4, 2, 1, 0]),
        ("shop", "drill", None, [4, 1, 0]),
        ("shop", "drill", 1, [4, 0]),
        ("shop", None, 1, [4, 2, 0]),
        ("docs", "drill", None, [3]),
        ("docs", "drill", 2, []),
    ],
)
def test_evidence_is_of_one_workload_kind_and_generation_newest_first(
    ledger: Ledger,
    numbers: list[int],
    workload: str,
    kind: str | None,
    generation: int | None,
    rows: list[int],
) -> None:
    found = evidence_of(ledger, workload, kind, generation=generation)
    assert [e.number for e in found] == [numbers[n] for n in rows]
    assert [
        e.number for e in evidence_of(ledger, workload, kind, generation=generation, limit=2)
    ] == [numbers[n] for n in rows[:2]]
    if kind is not None:
        newest = latest_evidence(ledger, workload, kind, generation=generation)
        assert (newest.number if newest else None) == (numbers[rows[0]] if rows else None)


def test_rows_by_number_are_these_rows_oldest_first(ledger: Ledger, numbers: list[int]) -> None:
    asked = [numbers[5], numbers[0], numbers[2]]
    assert [r["number"] for r in genuine_rows(ledger, asked)] == sorted(asked)
    assert genuine_rows(ledger, []) == []


def test_answers_are_of_these_questions_and_workloads_oldest_first(
    ledger: Ledger, numbers: list[int]
) -> None:
    def answers(workloads: list[str], approvals: list[str]) -> list[int]:
        asked = {"workloads": workloads, "approvals": approvals}
        rows = ledger.execute(statement("ledger", "answers_in_evidence"), asked).fetchall()
        return [row[0] for row in rows]

    every = [f"q{n}" for n in range(len(ROWS))]
    assert answers(["shop", "docs"], every) == [numbers[2], numbers[5], numbers[6]]
    assert answers(["shop"], every) == [numbers[2], numbers[6]]
    assert answers(["shop"], ["q6", "q0", "q5"]) == [numbers[6]]
