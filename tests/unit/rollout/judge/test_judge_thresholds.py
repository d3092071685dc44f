"""The judge that ships: its error rates by simulation, and each verdict against its threshold.

Nothing here uses the vectorised judge of the benchmarks. The oracle below is the formula as
published, in plain arithmetic, and the simulations call ``update`` and ``judge`` look by look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qafila.rollout.judge import judgement as judging
from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.evidence import State, e_values, update
from qafila.rollout.judge.guardrails import (
    ALWAYS,
    DECLARED,
    TENANT,
    ArmCounts,
    Counts,
    Guardrail,
    Limits,
)
from qafila.rollout.judge.judgement import judge, judge_alone
from qafila.workload.verdict import Verdict

EVEN = Calibration(10.0, 20.0, 1.0, 0.02, 0.0, 1000)
LIMITS = replace(Limits(), blast_radius=10**9)
EVERYTHING = replace(LIMITS, at_most=dict.fromkeys(DECLARED, 0.05))
LOOKS, REQUESTS, WEIGHT, BAD_RATE = 40, 1000, 0.25, 0.02


def arm(requests: int, bad: int, kind: Guardrail = Guardrail.ERRORS) -> ArmCounts:
    return replace(ArmCounts(requests, bad=bad), **{kind.value: bad})


# -- error rates, by the product's own functions -------------------------------------------------


def rollout(random: np.random.Generator, ratio: float, limits: Limits = LIMITS) -> Verdict:
    """Return how one rollout ends: look by look, until a verdict or the last look."""
    state = State()
    for _ in range(LOOKS):
        on_canary = int(random.binomial(REQUESTS, WEIGHT))
        rest = REQUESTS - on_canary
        look = Counts(
            arm(rest, int(random.binomial(rest, BAD_RATE))),
            arm(on_canary, int(random.binomial(on_canary, BAD_RATE * ratio))),
        )
        state = update(state, look, EVEN, limits)
        verdict = judge(state, EVEN, limits).verdict
        if verdict is not Verdict.INCONCLUSIVE:
            return verdict
    return Verdict.INCONCLUSIVE


def ends(ratio: float, rollouts: int, seed: int) -> Mapping[Verdict, int]:
    random = np.random.default_rng(seed)
    found = [rollout(random, ratio) for _ in range(rollouts)]
    return {verdict: found.count(verdict) for verdict in Verdict}


def most_by_chance(rollouts: int, rate: float) -> int:
    """Return the count that a true rate exceeds once in a million simulations."""
    return int(stats.binom.isf(1e-6, rollouts, rate))


def test_a_canary_twice_as_bad_is_promoted_no_more_often_than_beta() -> None:
    found = ends(LIMITS.harm_ratio, 300, seed=5)
    # β = .05 of 300: 15 expected at the most, 36 once in a million. A third fails it at E ≥ 2.
    assert found[Verdict.PASS] <= most_by_chance(300, LIMITS.beta)


def test_a_canary_like_its_baseline_is_aborted_no_more_often_than_alpha() -> None:
    found = ends(1.0, 300, seed=6)
    assert found[Verdict.FAIL] <= most_by_chance(300, LIMITS.alpha)
    assert found[Verdict.PASS] >= 240  # and most are proven fine within the looks


def test_a_canary_four_times_as_bad_is_aborted() -> None:
    found = ends(4.0, 60, seed=7)
    assert found[Verdict.FAIL] == 60


# -- the e-values, against the formula in plain arithmetic ---------------------------------------

HARM = [math.exp(p) for p in (0.5, 1.0, 1.4, 1.8, 2.4)]


def times(share: float, factor: float) -> float:
    return factor * share / (factor * share + 1 - share)


def relative(y: int, n: int, w: float, ratios: list[float]) -> float:
    """The mean over r of (θ(r)/w)^y · ((1−θ(r))/(1−w))^n: y of the canary, n of the baseline."""
    return sum((times(w, r) / w) ** y * ((1 - times(w, r)) / (1 - w)) ** n for r in ratios) / len(
        ratios
    )


def fine_ratios(harm_ratio: float) -> list[float]:
    below = min(1.0, 0.95 * harm_ratio)
    steps = (
        min(-1, round(10 * math.log(below * f / harm_ratio)))
        for f in (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25)
    )
    return [math.exp(max(-32, step) / 10) for step in steps]


@settings(max_examples=150, deadline=None)
@given(
    base=st.integers(20, 2000),
    cand=st.integers(20, 2000),
    y=st.integers(0, 15),
    n=st.integers(0, 15),
    skew=st.floats(0.67, 1.5),
    harm_ratio=st.floats(1.2, 4.0),
    kind=st.sampled_from([Guardrail.ERRORS, Guardrail.EMPTY]),
)
def test_one_look_gives_the_e_values_of_the_formula(
    base: int, cand: int, y: int, n: int, skew: float, harm_ratio: float, kind: Guardrail
) -> None:
    limits = replace(LIMITS, harm_ratio=harm_ratio)
    calibration = replace(EVEN, skew=skew)
    state = update(State(), Counts(arm(base, n, kind), arm(cand, y, kind)), calibration, limits)
    found = e_values(state, limits)
    w = cand / (cand + base)
    # what the skew of a short bake does not show is held against an abort, never for a promotion
    heavy = times(w, 1.15 * max(1.0, skew))
    light = times(w, harm_ratio * min(1.0, skew))
    assert found[kind.value] == pytest.approx(relative(y, n, heavy, HARM), rel=1e-6)
    assert found["fine"] == pytest.approx(relative(y, n, light, fine_ratios(harm_ratio)), rel=1e-6)
    for other in ALWAYS:  # one kind of bad answer is no evidence for another kind
        if other is not kind:
            assert found[other.value] <= 1 + 1e-9


@settings(max_examples=100, deadline=None)
@given(
    looks=st.lists(
        st.tuples(st.integers(50, 500), st.integers(50, 500), st.integers(0, 8), st.integers(0, 8)),
        min_size=2,
        max_size=6,
    )
)
def test_evidence_multiplies_over_looks(looks: list[tuple[int, int, int, int]]) -> None:
    state = State()
    by_ratio = [1.0] * len(HARM)
    for base, cand, y, n in looks:
        state = update(state, Counts(arm(base, n), arm(cand, y)), EVEN, LIMITS)
        w = times(cand / (cand + base), 1.15)
        for place, ratio in enumerate(HARM):
            by_ratio[place] *= relative(y, n, w, [ratio])
    assert e_values(state, LIMITS)["errors"] == pytest.approx(sum(by_ratio) / len(HARM), rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(cand=st.integers(20, 3000), bad=st.integers(0, 20))
def test_the_bound_by_objectives_is_the_likelihood_ratio_against_their_sum(
    cand: int, bad: int
) -> None:
    # errors .001, slow .05, empty .001: 5.2 % of the answers may be bad in one way or another
    most = 0.001 + 0.05 + 0.001
    state = update(State(), Counts(arm(500, 3), arm(cand, bad)), EVEN, LIMITS)
    rates = [most * f for f in (0.02, 0.1, 0.25, 0.4, 0.55, 0.7)]
    ratios = [(r / most) ** bad * ((1 - r) / (1 - most)) ** (cand - bad) for r in rates]
    assert e_values(state, LIMITS)["under"] == pytest.approx(sum(ratios) / 6, rel=1e-6)


@pytest.mark.parametrize("kind", [Guardrail.LATENCY, *DECLARED])
def test_worse_than_the_baseline_but_within_the_objective_is_no_harm(kind: Guardrail) -> None:
    state = State()
    for _ in range(30):  # 4 % on the canary, none on the baseline; the objective allows 5 %
        state = update(state, Counts(arm(1000, 0, kind), arm(1000, 40, kind)), EVEN, EVERYTHING)
    assert e_values(state, EVERYTHING)[kind.value] < 1


# -- the verdict, against the threshold ----------------------------------------------------------

ABORT_AT = (len(EVERYTHING.guardrails) + 1) / EVERYTHING.alpha  # 7 questions share α
PROMOTE_AT = 1 / EVERYTHING.beta
NAMES = (*(g.value for g in EVERYTHING.guardrails), TENANT, "fine", "under")
LEVELS = (
    st.floats(0.0, 1.0)
    | st.floats(1.0, 2 * ABORT_AT)
    | st.sampled_from(
        [PROMOTE_AT, math.nextafter(PROMOTE_AT, 0), ABORT_AT, math.nextafter(ABORT_AT, 0), 2.0]
    )
)
QUIET = dict.fromkeys(NAMES, 0.5)


def judged_with(
    monkeypatch: pytest.MonkeyPatch,
    e: Mapping[str, float],
    *,
    alone: bool = False,
    blast: int = 0,
    needed: float = 100.0,
    over: Mapping[str, float] | None = None,
) -> Verdict:
    """Return the verdict where the e-values are these; ``over``: those against the objectives."""
    counts = Counts(arm(500, 5), arm(500, 5))
    state = replace(State(), counts=counts, blast=blast, worst="t1", tenants={})
    monkeypatch.setattr(judging, "e_values", lambda *_: dict(e))
    monkeypatch.setattr(judging, "e_alone", lambda *_: dict(over or e))
    monkeypatch.setattr(judging, "requests_to_prove", lambda *_, **__: needed)
    monkeypatch.setattr(judging, "carrier", lambda *_, **__: None)
    monkeypatch.setattr(judging, "_of_tenant", lambda *_: "tenant t1")
    limits = replace(EVERYTHING, blast_radius=100)
    if alone:
        return judge_alone(state, EVEN, limits).verdict
    return judge(state, EVEN, limits, reasonable_requests=1000).verdict


def test_how_long_a_proof_takes_goes_by_the_bad_rate_of_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(
        judging, "requests_to_prove", lambda share, rate, *_, **__: asked.append(rate) or math.inf
    )
    state = replace(State(), counts=Counts(arm(500, 5), arm(300, 9)), tenants={})
    monkeypatch.setattr(judging, "e_values", lambda *_: dict(QUIET))
    judge(state, EVEN, EVERYTHING)
    # the mean of a Beta distribution after Jeffreys' prior: (bad + 1/2) / (requests + 1)
    assert asked == [pytest.approx(14.5 / 801)]


@settings(max_examples=400, deadline=None)
@given(
    e=st.fixed_dictionaries(dict.fromkeys(NAMES, LEVELS)),
    blast=st.sampled_from([0, 100, 101]),
    needed=st.sampled_from([10.0, 1000.0, 1001.0, math.inf]),
)
def test_a_verdict_is_given_at_its_threshold_and_at_no_other(
    e: dict[str, float], blast: int, needed: float
) -> None:
    harm = max(e[g.value] for g in EVERYTHING.guardrails)
    suspicion = max(harm, e[TENANT])
    with pytest.MonkeyPatch.context() as patch:
        found = judged_with(patch, e, blast=blast, needed=needed)
    if blast > 100 or suspicion >= ABORT_AT:
        assert found is Verdict.FAIL
    elif e["fine"] >= PROMOTE_AT or (
        e["under"] >= PROMOTE_AT and suspicion < PROMOTE_AT and needed > 1000
    ):
        assert found is Verdict.PASS
    else:
        assert found is Verdict.INCONCLUSIVE


@settings(max_examples=300, deadline=None)
@given(
    e=st.fixed_dictionaries(dict.fromkeys(NAMES, LEVELS)),
    blast=st.sampled_from([0, 100, 101]),
)
def test_alone_a_verdict_is_given_at_its_threshold_too(e: dict[str, float], blast: int) -> None:
    suspicion = max(e[name] for name in (*(g.value for g in EVERYTHING.guardrails), TENANT))
    with pytest.MonkeyPatch.context() as patch:
        found = judged_with(patch, e, alone=True, blast=blast)
    if blast > 100 or suspicion >= ABORT_AT:
        assert found is Verdict.FAIL
    elif e["under"] >= PROMOTE_AT and suspicion < PROMOTE_AT:
        assert found is Verdict.PASS
    else:
        assert found is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("guardrail", EVERYTHING.guardrails)
def test_a_broken_objective_is_never_made_good_by_the_sum_of_all(
    guardrail: Guardrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = QUIET | {"under": PROMOTE_AT}
    assert judged_with(monkeypatch, rare, needed=math.inf) is Verdict.PASS
    over = rare | {guardrail.value: PROMOTE_AT}
    assert judged_with(monkeypatch, rare, over=over, needed=math.inf) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("name", [*(g.value for g in EVERYTHING.guardrails), TENANT])
def test_each_question_alone_aborts_at_its_share_of_alpha(
    name: str, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged_with(monkeypatch, QUIET | {name: ABORT_AT}, alone=alone) is Verdict.FAIL
    just_under = QUIET | {name: math.nextafter(ABORT_AT, 0)}
    assert judged_with(monkeypatch, just_under, alone=alone) is Verdict.INCONCLUSIVE


def test_the_thresholds_are_the_error_rates() -> None:
    assert Limits().promote_at == pytest.approx(20)
    assert Limits().abort_at == pytest.approx(400)  # errors, latency, empty and one tenant
    assert pytest.approx(ABORT_AT) == EVERYTHING.abort_at == 700


@settings(max_examples=100, deadline=None)
@given(
    errors=st.integers(0, 20),
    empty=st.integers(0, 20),
    slow=st.integers(0, 20),
    base=st.integers(0, 20),
)
def test_the_blast_radius_counts_what_users_of_the_canary_got_and_nothing_else(
    errors: int, empty: int, slow: int, base: int
) -> None:
    canary = ArmCounts(1000, errors, slow, empty, errors + empty + slow)
    baseline = ArmCounts(1000, base, base, base, 3 * base)
    state = update(State(), Counts(baseline, canary), EVEN, LIMITS)
    state = update(state, Counts(baseline, canary), EVEN, LIMITS)
    assert state.blast == 2 * (errors + empty)  # slowness is no answer that was worth nothing
