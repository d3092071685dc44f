"""A check is timed, and is a step of the flow with its own name and artifact."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from qafila.validation.ladder import LADDER, REHEARSED
from qafila.validation.model import Finding, NotApplicable, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check
from qafila.workload.verdict import Judgement, Verdict
from tasks import benchmark_validation as steps

NOBODY = cast(Climb, SimpleNamespace())
FOUND = Finding(Rung.KEYS, Judgement(Verdict.PASS, "all there"), compared="rows", on="2 rows")


@check(Rung.KEYS, "compare rows")
def compare_rows(climb: Climb) -> Climbed:
    """Compare rows."""
    return FOUND


@check(Rung.KEYS, "compare nothing")
def compare_nothing(climb: Climb) -> Climbed:
    return NotApplicable(Rung.KEYS, "there is nothing")


def test_a_check_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.5])
    now = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("qafila.validation.suite.time", now)
    found = compare_rows(NOBODY)
    assert isinstance(found, Finding)
    assert (found.seconds, found.judgement) == (2.5, FOUND.judgement)
    monkeypatch.undo()
    assert compare_nothing(NOBODY) == NotApplicable(Rung.KEYS, "there is nothing")


def test_every_rung_is_climbed_once_from_the_lowest() -> None:
    assert [c.rung for c in LADDER] == list(Rung)
    assert [c.rung for c in REHEARSED] == [r for r in Rung if r is not Rung.ANSWERS]
    assert [t.name for t in steps.RUNGS] == [f"rung {r.number} {r.value}" for r in Rung]
    assert steps.RUNGS[0].task_run_name == (
        "1 keys: compare keys and digests of g{climb.generation.number}"
    )


def test_a_step_publishes_what_its_check_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(steps, "show_markdown", lambda **page: shown.append(page))
    step = steps.rung_task(compare_rows)
    assert step.description == "Compare rows."
    assert isinstance(step.fn(NOBODY), Finding)
    (page,) = shown
    assert (page["key"], page["description"]) == (Rung.KEYS.artifact, "compare rows")
    assert page["markdown"].startswith("# keys PASS")
