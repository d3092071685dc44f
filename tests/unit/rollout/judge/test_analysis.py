"""The judge: exact by simulation, and what it never does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.judge import NEVER, simulate, under
from benchmarks.judge_world import World
from qafila.rollout.judge.calibration import Calibration, calibrate
from qafila.rollout.judge.evidence import State, e_alone, e_values, update
from qafila.rollout.judge.guardrails import (
    ALWAYS,
    ArmCounts,
    Counts,
    Guardrail,
    Limits,
    count,
    of,
)
from qafila.rollout.judge.judgement import judge, judge_alone
from qafila.rollout.judge.objectives import tolerated
from qafila.rollout.judge.sample_plan import requests_to_prove
from qafila.workload.verdict import Verdict

LIMITS = Limits(latency_ratio=2.0)
EVEN = Calibration(10.0, 20.0, 1.0, 0.0, 0.0, 1000)


@dataclass(frozen=True)
class A:
    arm: str
    status: int = 200
    latency_ms: float = 5.0
    attempts: int = 1
    results: int | None = 3
    tenant: str | None = None
    flags: frozenset[str] = frozenset()


def look(
    n_base: int, n_cand: int, base: int, cand: int, kind: Guardrail = Guardrail.ERRORS
) -> Counts:
    def arm(requests: int, bad: int) -> ArmCounts:
        return replace(ArmCounts(requests, bad=bad), **{kind.value: bad})

    return Counts(arm(n_base, base), arm(n_cand, cand))


def run(looks: list[Counts], limits: Limits = LIMITS, calibration: Calibration = EVEN) -> State:
    state = State()
    for each in looks:
        state = update(state, each, calibration, limits)
    return state


# -- counting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (A("candidate"), ArmCounts(1)),
        (A("candidate", status=500), ArmCounts(1, errors=1, bad=1)),
        (A("candidate", attempts=2), ArmCounts(1, errors=1, bad=1)),  # saved by the baseline
        (A("candidate", status=0), ArmCounts(1, errors=1, bad=1)),  # the user gave up
        (A("candidate", status=404), ArmCounts(1)),  # the user's own mistake
        (A("candidate", latency_ms=21), ArmCounts(1, latency=1, bad=1)),
        (A("candidate", results=0), ArmCounts(1, empty=1, bad=1)),
        (A("candidate", results=None), ArmCounts(1)),  # not said is not empty
        # bad in two ways is one bad answer; a failed one is not also empty
        (A("candidate", status=500, latency_ms=30, results=0), ArmCounts(1, 1, 1, 0, 1)),
    ],
)
def test_what_makes_an_answer_bad(answer: A, expected: ArmCounts) -> None:
    assert count([answer], 20.0) == Counts(ArmCounts(), expected)


def test_the_twin_is_the_baseline() -> None:
    assert count([A("twin"), A("baseline")], 20.0) == Counts(ArmCounts(2), ArmCounts())


def test_calibration_takes_p95_and_the_skew_of_the_split() -> None:
    even = [A(arm, latency_ms=float(n % 100)) for n in range(1000) for arm in ("baseline", "twin")]
    measured = calibrate(even, LIMITS)
    assert measured.p95_ms == pytest.approx(94, abs=1.1)
    assert measured.slow_ms == pytest.approx(2 * measured.p95_ms)
    assert measured.skew == pytest.approx(1.0)
    # 100 slow requests, all at the twin where half were expected: (100 + 20) / (50 + 20), bounded
    heavy = [A("baseline", latency_ms=1.0)] * 1000
    heavy += [A("twin", latency_ms=1.0)] * 900 + [A("twin", latency_ms=9.0)] * 100
    assert calibrate(heavy, LIMITS).skew == 1.5
    with pytest.raises(ValueError, match="without a request"):
        calibrate([], LIMITS)


# -- what is caught, and how soon --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "base", "cand", "verdict"),
    [
        (Guardrail.ERRORS, 0, 4, Verdict.FAIL),  # of 20 requests at 20 %: 4 failed, baseline none
        (Guardrail.EMPTY, 0, 4, Verdict.FAIL),
        (Guardrail.ERRORS, 0, 1, Verdict.INCONCLUSIVE),  # one failure is no proof
        (Guardrail.ERRORS, 4, 1, Verdict.INCONCLUSIVE),  # as many as its share
        (Guardrail.LATENCY, 40, 10, Verdict.PASS),  # the machine is slow for both alike
    ],
)
def test_a_look_of_a_hundred_requests(
    kind: Guardrail, base: int, cand: int, verdict: Verdict
) -> None:
    # Twice, for a canary that goes on like this
    judged = judge(run([look(80, 20, base, cand, kind)] * 2), EVEN, LIMITS)
    assert judged.verdict is verdict, judged.sentence


def test_a_hiccup_is_no_proof_but_slowness_that_stays_is() -> None:
    hiccup = look(80, 20, 0, 20, Guardrail.LATENCY)
    calm = look(80, 20, 0, 0)
    judged = judge(run([calm, hiccup, hiccup, calm, calm]), EVEN, LIMITS)
    assert judged.verdict is not Verdict.FAIL, judged.sentence
    assert judge(run([hiccup] * 6), EVEN, LIMITS).verdict is Verdict.FAIL
    alone = Counts(ArmCounts(), ArmCounts(45, latency=10, bad=10))
    assert judge_alone(run([alone]), EVEN, LIMITS).verdict is Verdict.INCONCLUSIVE
    assert judge_alone(run([alone] * 6), EVEN, LIMITS).verdict is Verdict.FAIL


def test_under_suspicion_the_objectives_are_not_enough() -> None:
    looks = [look(200, 60, 0, 1)] * 3  # 1.7 % errors where the baseline has none
    judged = judge(run(looks), EVEN, LIMITS)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judge(run(looks * 3), EVEN, LIMITS).verdict is Verdict.FAIL


def test_slower_than_the_baseline_but_within_the_objective_is_no_harm() -> None:
    # 3 % of the canary's answers are over the limit, 0.2 % of the baseline's: p95 holds
    looks = [look(500, 500, 1, 15, Guardrail.LATENCY)] * 10
    judged = judge(run(looks), EVEN, LIMITS)
    assert judged.verdict is not Verdict.FAIL
    # 10 % are over the limit: it does not
    looks = [look(500, 500, 1, 50, Guardrail.LATENCY)] * 10
    assert judge(run(looks), EVEN, LIMITS).verdict is Verdict.FAIL


def test_equal_arms_with_enough_bad_answers_reject_harm() -> None:
    # KL of θ(1) from θ(2) at w = ½ is ½·log(½/⅔) + ½·log(½/⅓) = 0.0589, log(20)/0.0589 = 51
    assert requests_to_prove(0.5, 0.05, LIMITS) == pytest.approx(51 / 0.05, rel=0.02)
    judged = judge(run([look(100, 100, 5, 5)] * 10), EVEN, LIMITS)
    assert judged.verdict is Verdict.PASS
    assert "harm ×2 rejected" in judged.sentence


def test_where_bad_answers_are_too_rare_for_a_ratio_the_objectives_are_the_bound() -> None:
    judged = judge(run([look(60, 20, 0, 0)] * 8), EVEN, LIMITS)
    assert judged.verdict is Verdict.PASS
    assert "too rare for a ratio" in judged.sentence
    few = judge(run([look(60, 20, 0, 0)]), EVEN, LIMITS)
    assert few.verdict is Verdict.INCONCLUSIVE


def test_the_blast_radius_stops_whatever_the_statistics_say() -> None:
    limits = replace(LIMITS, blast_radius=10)
    judged = judge(run([look(500, 500, 11, 11)], limits), EVEN, limits)
    assert judged.verdict is Verdict.FAIL
    assert "11 answers that failed, were empty or declared bad; 10 are the most" in judged.sentence


@pytest.mark.parametrize(("errors", "passes"), [(1, True), (5, False)])
def test_alone_errors_do_not_use_up_what_slow_answers_leave(errors: int, passes: bool) -> None:
    # Of 1000: 0.1 % may fail and 5 % be slow. 5 errors are well under the sum and over their own
    state = run([Counts(ArmCounts(), ArmCounts(1000, errors=errors, bad=errors))])
    e = e_alone(state, LIMITS)
    assert e["under"] >= LIMITS.promote_at
    assert e["errors"] < LIMITS.abort_at
    assert (judge_alone(state, EVEN, LIMITS).verdict is Verdict.PASS) is passes


@pytest.mark.parametrize(
    ("cand", "verdict"),
    [
        (ArmCounts(800), Verdict.PASS),
        (ArmCounts(800, latency=16, bad=16), Verdict.PASS),  # 2 % slow: p95 holds
        (ArmCounts(800, latency=80, bad=80), Verdict.INCONCLUSIVE),  # 10 % slow, in one look
        (ArmCounts(800, errors=7, bad=7), Verdict.FAIL),  # 0.9 % where 0.1 % is allowed
        (ArmCounts(20), Verdict.INCONCLUSIVE),
        (ArmCounts(), Verdict.INCONCLUSIVE),
    ],
)
def test_alone_a_candidate_is_held_to_the_objectives(cand: ArmCounts, verdict: Verdict) -> None:
    judged = judge_alone(run([Counts(ArmCounts(), cand)]), EVEN, LIMITS)
    assert judged.verdict is verdict, judged.sentence


# -- by simulation -----------------------------------------------------------------------------


@pytest.mark.parametrize("tenants", [False, True])
@pytest.mark.parametrize(("requests", "w"), [(100, 0.25), (1000, 0.05), (1000, 0.5)])
def test_an_equal_canary_is_aborted_in_at_most_one_rollout_of_a_hundred(
    requests: int, w: float, tenants: bool
) -> None:
    world = World(requests, (w,) * 25, tenants)
    ended = simulate(world, 300, np.random.default_rng(5))
    assert ended.failed.mean() <= 0.01


@pytest.mark.parametrize("tenants", [False, True])
@pytest.mark.parametrize(("requests", "w"), [(200, 0.25), (1000, 0.5)])
def test_a_canary_twice_as_bad_is_promoted_in_at_most_one_rollout_of_twenty(
    requests: int, w: float, tenants: bool
) -> None:
    world = World(requests, (w,) * 25, tenants, ratio=2.0)
    ended = simulate(world, 300, np.random.default_rng(6))
    assert ended.passed.mean() <= 0.05


def test_users_who_are_not_alike_fool_a_z_test_that_is_peeked_at() -> None:
    world = World(1000, (0.25,) * 25, tenants=True)
    ended = simulate(world, 200, np.random.default_rng(8), whole=True)
    assert (ended.z < NEVER).mean() > 0.1
    assert ended.failed.mean() <= 0.01


def test_a_bad_rate_of_just_what_is_tolerated_is_seldom_proven_to_be_under_it() -> None:
    found = under(2000, 200, np.random.default_rng(9))
    assert found["false_promotion"] <= 0.05  # type: ignore[operator]
    assert found["median_requests_at_half"] is not None


def test_a_canary_ten_times_as_bad_is_caught() -> None:
    ended = simulate(World(100, (0.25,) * 20, False, ratio=10.0), 200, np.random.default_rng(7))
    assert ended.failed.mean() == 1.0


# -- never and always --------------------------------------------------------------------------

arms = st.builds(
    lambda n, e, s, m: ArmCounts(n, min(e, n), min(s, n), min(m, n), min(n, max(e, s, m))),
    st.integers(0, 300),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(0, 20),
)
counts = st.builds(Counts, arms, arms)
clean = st.builds(Counts, arms, st.builds(ArmCounts, st.integers(0, 300)))


@given(st.lists(clean, max_size=12))
@settings(max_examples=80, deadline=None)
def test_a_canary_without_a_bad_answer_is_never_aborted(looks: list[Counts]) -> None:
    state = run(looks)
    assert judge(state, EVEN, LIMITS).verdict is not Verdict.FAIL
    assert judge_alone(state, EVEN, LIMITS).verdict is not Verdict.FAIL


@given(st.lists(counts, min_size=2, max_size=8), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_order_of_looks_never_matters(looks: list[Counts], random: object) -> None:
    shuffled = list(looks)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = e_values(run(looks)), e_values(run(shuffled))
    assert first == pytest.approx(second, rel=1e-6)


@given(st.lists(counts, max_size=10))
@settings(max_examples=60, deadline=None)
def test_e_values_are_always_finite_and_positive(looks: list[Counts]) -> None:
    assert all(math.isfinite(e) and e >= 0 for e in e_values(run(looks)).values())


@given(counts)
@settings(max_examples=60, deadline=None)
def test_one_more_bad_answer_of_the_canary_never_helps_it(one: Counts) -> None:
    more = replace(one.candidate, requests=one.candidate.requests + 1)
    good, bad = more, replace(more, errors=more.errors + 1, bad=more.bad + 1)
    assert (
        e_values(run([Counts(one.baseline, bad)]))["errors"]
        >= e_values(run([Counts(one.baseline, good)]))["errors"] - 1e-12
    )
    assert run([Counts(one.baseline, bad)]).blast > run([Counts(one.baseline, good)]).blast - 1


@given(st.floats(0, 0.5), st.floats(0, 0.2))
def test_what_is_tolerated_is_always_a_share(error_rate: float, empty: float) -> None:
    limits = replace(LIMITS, error_rate=error_rate)
    assert 0 < tolerated(replace(EVEN, empty_share=empty), limits) < 1


# -- what a service declares -------------------------------------------------------------------


def test_a_declared_fault_counts_where_it_has_an_objective() -> None:
    answers = [A("candidate", flags=frozenset({"ungrounded"})), A("candidate")]
    unwatched = count(answers, 20.0).candidate
    assert (unwatched.ungrounded, unwatched.bad) == (1, 0)
    watched = Limits(at_most={Guardrail.UNGROUNDED: 0.02}).guardrails
    assert watched == (*ALWAYS, Guardrail.UNGROUNDED)
    counted = count(answers, 20.0, guardrails=watched)
    assert counted.candidate.bad == 1
    assert counted.stored()["candidate"]["ungrounded"] == 1
    assert of(counted.stored()["candidate"], Guardrail.UNGROUNDED) == 1
    assert of({"requests": 3, "errors": 1}, Guardrail.FLAGGED) == 0  # stored before there was one


def test_a_share_of_alpha_goes_to_each_guardrail_that_is_watched_and_to_the_one_tenant() -> None:
    assert Limits().abort_at == pytest.approx(400)  # (3 + 1) / 1 %
    assert Limits(at_most={Guardrail.FLAGGED: 0.1}).abort_at == pytest.approx(500)


@pytest.mark.parametrize(
    ("base", "cand", "verdict"),
    [
        (0, 60, Verdict.FAIL),  # 12 % where 5 % may be
        (60, 60, Verdict.PASS),  # as many as the baseline
        (0, 15, Verdict.PASS),  # more than the baseline's, and within the objective
    ],
)
def test_a_declared_fault_is_harm_beyond_the_baseline_and_beyond_the_objective(
    base: int, cand: int, verdict: Verdict
) -> None:
    limits = replace(LIMITS, at_most={Guardrail.OVER_BUDGET: 0.05}, blast_radius=10**9)
    one = look(500, 500, base, cand, Guardrail.OVER_BUDGET)
    judged = judge(run([one], limits), EVEN, limits)
    assert judged.verdict is verdict, judged.sentence
