"""Rung 11: which answers give which verdict, and when a grading model may be believed."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from math import comb
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.llm_eval.answer_figures import Answered, Calibration, calibrate, measure_system
from qafila.llm_eval.golden import Prompt, read_prompts
from qafila.llm_eval.grades import Grade, Graded
from qafila.statistics.paired_shares import compare_shares, mcnemar
from qafila.validation.checks.judge_answer_objectives import compare_scores, prompts_needed
from qafila.validation.checks.judge_answers import JudgedAnswers, judge_answers
from qafila.workload.inference import AnswerObjectives, Inference, LanguageModel
from qafila.workload.verdict import Verdict

OBJECTIVES = AnswerObjectives()
AGREE = Calibration(50, 0, 0.9, 0.75, 1.0, 0.95, 0.9, 1.0, 0.6, True, "")


def prompts(n: int, *, languages: tuple[str, ...] = ("",)) -> list[Prompt]:
    return read_prompts(
        "test",
        [
            (
                str(i),
                {
                    "id": f"p{i:04}",
                    "prompt": "x",
                    "language": languages[i % len(languages)],
                    "grader": {"kind": "exact", "expected": "y"},
                },
            )
            for i in range(n)
        ],
    )


def answer(score: float | None, **more: Any) -> Answered:
    reason = "" if score else "is not 'y'"
    graded = Graded((Grade(score, reason),), more.pop("broken", ""), more.pop("refused", False))
    timed = {"first_token_s": 0.2, "per_token_s": 0.02, "total_s": 1.0}
    return Answered("y" if score else "n", graded, **{**timed, **more})


def judged(
    baseline: list[Answered],
    candidate: list[Answered],
    asked: list[Prompt] | None = None,
    **more: Any,
) -> JudgedAnswers:
    return judge_answers(
        asked or prompts(len(baseline)),
        baseline,
        candidate,
        OBJECTIVES,
        errors_at_most=0.001,
        seed=7,
        **more,
    )


@pytest.mark.parametrize(
    ("n", "lost", "gained", "expected"),
    [
        (100, 0, 0, Verdict.PASS),  # z²/(n + z²) = .037 may differ unseen
        (72, 0, 0, Verdict.INCONCLUSIVE),  # .0507 may
        (73, 0, 0, Verdict.PASS),  # .0499 may
        (30, 0, 0, Verdict.INCONCLUSIVE),
        (29, 0, 0, Verdict.INCONCLUSIVE),
        (100, 30, 0, Verdict.FAIL),
        (100, 0, 30, Verdict.PASS),
        (100, 8, 4, Verdict.INCONCLUSIVE),
        (29, 29, 0, Verdict.INCONCLUSIVE),  # however bad, so few prove nothing
    ],
)
def test_the_score_decides(n: int, lost: int, gained: int, expected: Verdict) -> None:
    baseline = [answer(0.0 if i < gained else 1.0) for i in range(n)]
    candidate = [answer(0.0 if i >= n - lost else 1.0) for i in range(n)]
    found = judged(baseline, candidate)
    assert found.judgement.verdict is expected
    if expected is Verdict.INCONCLUSIVE:
        assert int(str(found.judgement.numbers["needed"])) > n
        assert "needed" in found.judgement.sentence or "would decide" in found.judgement.sentence
    if expected is Verdict.FAIL:
        assert "p0070 (is not 'y')" in found.judgement.sentence
        assert len(found.lost) == 15


@settings(deadline=None, max_examples=40)
@given(st.integers(80, 150), st.data())  # enough for refusals and formats to hold
def test_a_pass_means_the_whole_interval_and_a_fail_none_of_it(n: int, data: Any) -> None:
    marks = st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)
    baseline, candidate = data.draw(marks), data.draw(marks)
    found = judged([answer(s) for s in baseline], [answer(s) for s in candidate])
    pair, verdict = found.paired["score"], found.parts["score"].verdict
    assert (verdict is Verdict.PASS) == (pair.ci_low >= -0.05)
    assert (verdict is Verdict.FAIL) == (pair.ci_high < -0.05)
    assert found.judgement.verdict is verdict  # all that else was measured is equal here


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=30, max_size=60))
def test_equal_answers_never_prove_that_all_are_equal(scores: list[float]) -> None:
    found = compare_scores(scores, scores, seed=7)
    assert found.ci_low < 0 < found.ci_high
    assert found.p_value == 1.0


def test_errors_are_no_bad_answers() -> None:
    good = [answer(1.0) for _ in range(100)]
    broken = [*good[:-1], Answered(error="HTTP 500")]
    found = judged(good, broken)
    assert found.judgement.verdict is Verdict.ERROR
    assert "1 of 100 prompts ended in an error (HTTP 500)" in found.judgement.sentence
    assert judged(broken, good).judgement.verdict is Verdict.ERROR
    stopped = judged(good[:3], good[:3], broken="candidate: it does not let us in.")
    assert stopped.judgement.verdict is Verdict.ERROR
    assert "does not let us in" in stopped.judgement.sentence


@pytest.mark.parametrize("mark", [{"refused": True}, {"broken": "empty"}])
def test_more_refusals_or_broken_formats_fail_though_the_score_holds(mark: dict[str, Any]) -> None:
    good = [answer(1.0) for _ in range(100)]
    found = judged(good, [answer(1.0, **mark) if i < 20 else answer(1.0) for i in range(100)])
    assert found.judgement.verdict is Verdict.FAIL
    assert "20 of 100 answers against the baseline's 0" in found.judgement.sentence
    fewer = judged([answer(1.0, **mark) if i < 20 else answer(1.0) for i in range(100)], good)
    assert fewer.judgement.verdict is Verdict.PASS


def test_times_are_ratios_and_what_does_not_stream_is_not_held_up() -> None:
    rng = random.Random(1)
    jitter = [rng.uniform(0.9, 1.1) for _ in range(100)]
    old = [answer(1.0, first_token_s=0.2 * j) for j in jitter]
    slow = [answer(1.0, first_token_s=0.4 * j) for j in reversed(jitter)]
    assert judged(old, slow).judgement.verdict is Verdict.FAIL
    assert judged(slow, old).judgement.verdict is Verdict.PASS
    ratio = judged(old, slow).parts["time to first token"].numbers["ratio"]
    assert ratio == pytest.approx(2.0)
    none = [replace(a, first_token_s=None, per_token_s=None) for a in old]
    found = judged(old, none)
    assert found.judgement.verdict is Verdict.PASS
    assert "time to first token" not in found.parts
    assert found.systems["candidate"].first_token_p50_ms is None


def test_one_language_can_fail_it_and_none_can_hold_it_up() -> None:
    asked = prompts(400, languages=("en", "fr", "en", "en"))
    good = [answer(1.0) for _ in asked]
    worse = [answer(0.0 if p.language == "fr" and i % 8 < 2 else 1.0) for i, p in enumerate(asked)]
    better = [answer(1.0) for _ in asked]
    assert judged(good, better, asked).judgement.verdict is Verdict.PASS
    found = judged(good, worse, asked)
    assert found.parts["language fr"].verdict is Verdict.FAIL
    assert found.judgement.verdict is Verdict.FAIL
    few = prompts(100, languages=("en",) * 9 + ("ar",))
    even = judged([answer(1.0) for _ in few], [answer(1.0) for _ in few], few)
    assert even.parts["language ar"].verdict is Verdict.INCONCLUSIVE  # ten prompts
    assert even.judgement.verdict is Verdict.PASS


def test_a_model_grade_counts_only_when_it_agrees_with_people() -> None:
    good = [answer(1.0, by_model=1.0) for _ in range(100)]
    bad = [answer(1.0, by_model=0.0) for _ in range(100)]
    assert judged(good, bad, calibration=AGREE).judgement.verdict is Verdict.FAIL
    unusable = replace(AGREE, usable=False, because="its kappa with people is 0.20")
    found = judged(good, bad, calibration=unusable)
    assert found.judgement.verdict is Verdict.PASS
    assert "decide nothing: its kappa" in found.parts["grade by a model"].sentence


@pytest.mark.parametrize(
    ("both", "only_person", "only_model", "neither", "kappa", "usable"),
    [
        (20, 5, 10, 15, 0.4, False),  # p .7, e .5: the example on every page about kappa
        (20, 0, 0, 20, 1.0, True),
        (15, 0, 0, 14, 1.0, False),  # 29 grades
        (40, 0, 0, 0, None, False),  # one grade for all: agreement means nothing
        (45, 5, 5, 45, 0.8, True),  # p .9 (.824….951): kappa .65 at the least
        (23, 2, 3, 22, 0.8, False),  # the same kappa on 50: .56 at the least
    ],
)
def test_kappa(
    both: int, only_person: int, only_model: int, neither: int, kappa: float | None, usable: bool
) -> None:
    grades = (
        [(True, True)] * both
        + [(True, False)] * only_person
        + [(False, True)] * only_model
        + [(False, False)] * neither
    )
    found = calibrate(grades, at_least=0.6)
    assert found.kappa == (None if kappa is None else pytest.approx(kappa))
    assert found.usable is usable
    assert bool(found.because) is not usable
    assert found.accuracy == pytest.approx((both + neither) / len(grades))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([True, False, None])), max_size=80))
def test_a_grading_model_is_never_usable_below_the_stated_kappa_or_number(grades: Any) -> None:
    found = calibrate(grades, at_least=0.6)
    if found.usable:
        assert len(grades) >= 30
        assert found.kappa is not None
        assert found.kappa >= 0.6


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))
def test_paired_shares(n: int, gained: int, lost: int) -> None:
    if gained + lost > n:
        with pytest.raises(ValueError, match="pairs"):
            compare_shares(gained, lost, n)
        return
    found, mirror = compare_shares(gained, lost, n), compare_shares(lost, gained, n)
    assert -1 <= found.ci_low <= found.delta <= found.ci_high <= 1
    assert found.ci_low < found.ci_high
    assert (mirror.ci_low, mirror.ci_high) == pytest.approx((-found.ci_high, -found.ci_low))


@pytest.mark.parametrize("moved", range(9))
def test_mcnemar_is_what_enumeration_says(moved: int) -> None:
    for gained in range(moved + 1):
        seen = abs(2 * gained - moved)
        ways = sum(comb(moved, g) for g in range(moved + 1) if abs(2 * g - moved) >= seen)
        assert mcnemar(gained, moved - gained) == pytest.approx(ways / 2**moved)


@pytest.mark.parametrize(("gain", "loss"), [(0.05, 0.05), (0.2, 0.1), (0.02, 0.1), (0.0, 0.05)])
def test_the_interval_of_paired_shares_covers_as_it_says(gain: float, loss: float) -> None:
    """All outcomes of 40 pairs, weighed by their chance: never below 93 %."""
    n, covered = 40, 0.0
    for g in range(n + 1):
        for m in range(n + 1 - g):
            chance = (
                comb(n, g) * comb(n - g, m) * gain**g * loss**m * (1 - gain - loss) ** (n - g - m)
            )
            if chance > 1e-7:
                found = compare_shares(g, m, n)
                covered += chance * (found.ci_low <= gain - loss <= found.ci_high)
    assert covered > 0.93


def test_how_many_prompts_would_decide() -> None:
    assert prompts_needed([0.0] * 30, -0.05, 30) == 74  # z²(1 − .05)/.05 = 73, one to spare
    assert prompts_needed([-0.05] * 30, -0.05, 30) is None  # on the limit
    assert prompts_needed([1.0, -1.0] * 20, -0.0001, 40) is None  # millions
    # sd 1.013, distance .05: ((1.96 + .84) · 1.013 / .05)² = 3 221, and a few for t
    assert prompts_needed([1.0, -1.0] * 20, -0.05, 40) == pytest.approx(3224, abs=3)


def test_figures_of_a_system() -> None:
    asked = prompts(3)
    given = [
        answer(1.0, cost=Decimal("0.001"), tokens_in=10, tokens_out=4, tries=2),
        answer(0.0, cost=Decimal("0.003"), tokens_in=20, tokens_out=6, estimated=True),
        Answered(error="HTTP 500", tries=5),
    ]
    found = measure_system(asked, given)
    assert (found.errors, found.score, found.tokens_in, found.retried) == (1, 0.5, 15, 2)
    assert found.cost_per_answer == "0.00200000"
    assert found.tokens_estimated == 1
    unpriced = measure_system(asked, [replace(given[0], cost=None), *given[1:]])
    assert unpriced.cost_per_answer is None  # of a part nothing is said


def test_the_section_says_what_is_missing() -> None:
    url = {"url": "http://127.0.0.1:1/v1", "model": "m"}
    section = {"baseline": url, "candidate": url, "prompts": {"kind": "file", "path": "p.jsonl"}}
    assert Inference.model_validate(section).baseline.temperature == 0
    for wrong in (
        {"model": "m"},
        {**url, "block": "both"},
        {**url, "input_price_per_million": 1},
        {**url, "url": "http://user:secret@host/v1"},
    ):
        with pytest.raises(ValueError, match=r"url|price"):
            LanguageModel.model_validate(wrong)
