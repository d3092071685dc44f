"""The ladder's decisions: which numbers give which verdict."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.statistics.paired import PairedComparison
from qafila.validation import judge_common as ladder
from qafila.validation.judged import ArmMeasurement
from qafila.validation.model import Finding, NotApplicable, Rung
from qafila.validation.outcome import Outcome, stops
from qafila.workload.verdict import Judgement, Verdict

BASELINE = ArmMeasurement(1000, 0, 0.6, 0.55, 5.0, 10.0, 6.0)
PAIR = PairedComparison(1000, 0.03, 0.01, 0.05, 0.001, 0.02)


@pytest.mark.parametrize(
    ("low", "high", "at_least", "expected"),
    [
        (0.01, 0.05, 0.0, Verdict.PASS),  # all of it above
        (0.0, 0.05, 0.0, Verdict.PASS),  # touching from above meets it
        (-0.09, -0.04, 0.0, Verdict.FAIL),  # all of it below
        (-0.01, 0.05, 0.0, Verdict.INCONCLUSIVE),
        (-0.05, 0.0, 0.0, Verdict.INCONCLUSIVE),  # touching from below has not failed
        (-0.01, 0.05, -0.02, Verdict.PASS),  # a tolerated loss
        (0.01, 0.05, 0.06, Verdict.FAIL),  # better, but not by what was asked
    ],
)
def test_quality_is_judged_by_the_whole_interval(
    low: float, high: float, at_least: float, expected: Verdict
) -> None:
    judged = ladder.judge_quality("candidate", replace(PAIR, ci_low=low, ci_high=high), at_least)
    assert judged.verdict is expected


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_an_interval_never_passes_while_part_of_it_misses(a: float, b: float, at: float) -> None:
    low, high = min(a, b), max(a, b)
    verdict = ladder.judge_interval("x", low, high, at).verdict
    assert (verdict is Verdict.PASS) == (low >= at)
    assert (verdict is Verdict.FAIL) == (high < at)


def test_too_few_queries_prove_nothing() -> None:
    judged = ladder.judge_quality("candidate", replace(PAIR, pairs=29), 0.0)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.numbers["at_least"] == ladder.FEWEST_QUERIES


@pytest.mark.parametrize(
    ("queries", "errors", "expected"),
    [
        (1000, 1, Verdict.PASS),  # 0.001 is allowed
        (1000, 2, Verdict.ERROR),  # a broken system is not a bad one
        (0, 0, Verdict.INCONCLUSIVE),
    ],
)
def test_errors_are_not_a_failure(queries: int, errors: int, expected: Verdict) -> None:
    arm = replace(BASELINE, queries=queries, errors=errors)
    assert ladder.judge_errors("baseline", arm, 0.001).verdict is expected


@pytest.mark.parametrize(
    ("recall", "low", "high", "expected"),
    [
        (0.98, 0.97, 0.99, Verdict.PASS),
        (0.80, 0.75, 0.85, Verdict.FAIL),
        (0.90, 0.85, 0.95, Verdict.INCONCLUSIVE),
        (None, 0.0, 1.0, Verdict.INCONCLUSIVE),
    ],
)
def test_recall(recall: float | None, low: float, high: float, expected: Verdict) -> None:
    assert ladder.judge_recall(recall, low, high, 0.9, queries=50).verdict is expected


def test_the_worst_rung_decides_and_gives_the_sentence() -> None:
    rungs = [
        Judgement(Verdict.PASS, "rows are there."),
        Judgement(Verdict.FAIL, "worse answers."),
        Judgement(Verdict.INCONCLUSIVE, "few."),
    ]
    judged = ladder.judge_arm("candidate", rungs)
    assert (judged.verdict, judged.sentence) == (Verdict.FAIL, "worse answers.")
    assert ladder.judge_arm("candidate", rungs[:1]).sentence == "candidate: every rung holds (1)."
    assert ladder.judge_arm("candidate", []).verdict is Verdict.INCONCLUSIVE


def test_cost_of_a_thousand_queries() -> None:
    # 0.36 an hour is 0.0001 a second; 1 000 queries of 20 ms take 20 s; two vCPUs share the price
    assert ladder.cost_per_thousand(Decimal("0.36"), 20.0, 2) == Decimal("0.001000")
    with pytest.raises(ValueError, match="at least one vCPU"):
        ladder.cost_per_thousand(Decimal(1), 1.0, 0)


def finding(rung: Rung, verdict: Verdict, **more: object) -> Finding:
    return Finding(
        rung, Judgement(verdict, f"{rung} said {verdict}."), "a with b", "3 rows", **more
    )  # type: ignore[arg-type]


def test_a_fail_stops_the_climb_and_what_is_above_is_named() -> None:
    climbed = [finding(Rung.KEYS, Verdict.PASS), finding(Rung.CONTENT, Verdict.FAIL)]
    assert [stops(f) for f in climbed] == [False, True]
    outcome = Outcome(climbed)
    assert outcome.verdict is Verdict.FAIL
    assert outcome.sentence == "content said FAIL."
    assert outcome.stopped_at is Rung.CONTENT
    assert outcome.not_reached == list(Rung)[2:]
    assert outcome.body()["not_reached"][0] == "meaning"


def test_an_inconclusive_rung_lets_the_climb_go_on_but_not_pass() -> None:
    climbed = [
        finding(Rung.KEYS, Verdict.INCONCLUSIVE),
        NotApplicable(Rung.NEIGHBOURS, "there is no old index."),
        finding(Rung.COST, Verdict.PASS, figures={"queries": 3}),
    ]
    assert not any(stops(f) for f in climbed)
    outcome = Outcome(climbed)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.not_reached == []
    body = outcome.body()
    assert body["queries"] == 3
    assert body["not_applicable"] == {"neighbours": "there is no old index."}


def test_times_under_load_replace_those_of_the_closed_loop() -> None:
    systems = {"baseline": {"ndcg_at_10": 0.6, "p95_ms": 5.0}, "vector_only": {"p95_ms": 7.0}}
    loaded = {"baseline": {"p95_ms": 9.0}, "unheard of": {"p95_ms": 1.0}}
    outcome = Outcome(
        [
            finding(Rung.QUALITY, Verdict.PASS, figures={"systems": systems}),
            finding(Rung.LATENCY, Verdict.PASS, figures={"latency": {"systems": loaded}}),
        ]
    )
    assert outcome.body()["systems"] == {
        "baseline": {"ndcg_at_10": 0.6, "p95_ms": 9.0},
        "vector_only": {"p95_ms": 7.0},
    }


def test_other_systems_are_judged_beside_and_never_decide() -> None:
    others = {"vector_only": Judgement(Verdict.FAIL, "worse.")}
    outcome = Outcome([finding(Rung.QUALITY, Verdict.PASS, others=others)])
    assert outcome.verdict is Verdict.PASS
    assert {n: j.verdict for n, j in outcome.verdicts.items()} == {
        "vector_only": Verdict.FAIL,
        "candidate": Verdict.PASS,
    }


@given(st.lists(st.sampled_from(list(Verdict)), max_size=6))
def test_an_outcome_never_passes_unless_every_rung_does(verdicts: list[Verdict]) -> None:
    outcome = Outcome([finding(r, v) for r, v in zip(Rung, verdicts, strict=False)])
    passes = bool(verdicts) and all(v is Verdict.PASS for v in verdicts)
    assert (outcome.verdict is Verdict.PASS) == passes
